"""Which value each field of a new passport starts with, and how they are counted."""

import json

import pytest

from worker.domain.seeding import SeededFields, seed_fields


def _seed(template: object, defaults: object, prefill: object) -> SeededFields:
    return seed_fields(json.dumps(template), json.dumps(defaults), json.dumps(prefill))


def _one(default: object, template: object, prefill: object) -> object:
    seeded = _seed([{"key": "k", "dataType": "string", "defaultValue": template}], {"k": default}, {"k": prefill})
    return json.loads(seeded.json)["k"]


EMPTY = {"value": None, "status": "empty"}


def _approved(source: str, value: object) -> dict[str, object]:
    return {"value": value, "status": "approved", "source": source}


@pytest.mark.parametrize(
    ("default", "template", "prefill", "expected"),
    [
        ("p", "t", "c", _approved("product", "p")),
        (None, "t", "c", _approved("template", "t")),
        (None, None, "c", _approved("company", "c")),
        ("", "t", "c", _approved("template", "t")),
        ("", "", "c", _approved("company", "c")),
        (None, None, None, EMPTY),
        ("", "", "", EMPTY),
        (False, "t", "c", _approved("product", False)),
        (0, "t", "c", _approved("product", 0)),
        ([], "t", "c", _approved("product", [])),
        ({}, "t", "c", _approved("product", {})),
        (" ", "t", "c", _approved("product", " ")),
        (None, 0.0, "c", _approved("template", 0.0)),
        (None, None, False, _approved("company", False)),
        ("\ud800é", None, None, _approved("product", "\ud800é")),
    ],
)
def test_the_first_value_that_is_not_empty_counts(
    default: object, template: object, prefill: object, expected: object
) -> None:
    """Product, then template, then company; null and "" are empty, false, 0 and [] are values."""
    assert _one(default, template, prefill) == expected


def test_values_for_fields_that_the_template_lacks_are_ignored() -> None:
    """The template says what a passport consists of, and in which order."""
    seeded = _seed([{"key": "b"}, {"key": "a"}], {"x": 1, "a": 2}, {"y": 3})
    assert list(json.loads(seeded.json).items()) == [("b", EMPTY), ("a", _approved("product", 2))]
    assert (seeded.total, seeded.approved) == (2, 1)


def test_a_template_without_fields_is_zero_per_cent_complete() -> None:
    """Nothing is divided by nothing."""
    seeded = _seed([], {"a": 1}, {"b": 2})
    assert (seeded.total, seeded.approved, seeded.json, seeded.completion_percentage) == (0, 0, "{}", 0)


@pytest.mark.parametrize(
    ("total", "approved", "percentage"), [(52, 17, 32), (3, 3, 100), (3, 2, 66), (200, 199, 99), (1, 0, 0)]
)
def test_completion_is_rounded_down(total: int, approved: int, percentage: int) -> None:
    """17 of 52 gives the seed's 32, and only a complete passport has 100."""
    template = [{"key": str(number)} for number in range(total)]
    seeded = _seed(template, {str(number): 1 for number in range(approved)}, {})
    assert (seeded.total, seeded.approved, seeded.completion_percentage) == (total, approved, percentage)
