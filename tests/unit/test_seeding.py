"""Which value each field of a new passport starts with, and how they are counted."""

import json
import tracemalloc

import pytest

from worker.domain.cache import Cache
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


@pytest.mark.parametrize("size", [60_000, 70_000], ids=["small", "large"])
def test_a_large_product_that_was_seeded_before_is_not_seeded_again(size: int) -> None:
    """The same texts give the same value; a large one is the very object, which was kept."""
    first, second = (_seed([{"key": "kept"}], {"kept": size * "x"}, {}) for _ in range(2))
    assert first == second
    assert (first is second) == (size > 64 * 1024)


def test_products_of_one_template_differ_in_what_is_their_own() -> None:
    """Whatever is remembered of their template."""
    template = [{"key": "a", "defaultValue": "t"}, {"key": "b"}]
    for own, prefill in (({"a": 1}, {}), ({"b": 2}, {}), ({}, {"b": 3}), ({"a": 1}, {})):
        fields = json.loads(_seed(template, own, prefill).json)
        assert fields["a"]["value"] == own.get("a", "t")
        assert fields["b"]["value"] == own.get("b", prefill.get("b"))


def test_what_is_remembered_is_bounded_by_bytes() -> None:
    """What was used least lately goes; what is larger than all of it together is not kept at all."""
    cache = Cache[int](10_000)
    texts = [("x" * 3_000, str(at)) for at in range(4)]
    for at in range(2):
        cache.put(texts[at], at, 0)
    assert cache.get(texts[0]) == 0
    cache.put(texts[2], 2, 1_000)
    assert [cache.get(one) for one in texts] == [0, None, 2, None]
    assert cache.bytes <= 10_000
    cache.put(texts[3], 3, 10_000)
    assert [cache.get(one) for one in texts] == [None] * 4
    assert cache.bytes == 0


def test_the_largest_products_are_not_remembered_by_number() -> None:
    """Seen to fail while 1,024 of them were: 180 products, of which a catalogue may hold any number, took 100 MB."""
    tracemalloc.start()
    try:
        for number in range(180):
            template = [{"key": f"{letter}{number}", "dataType": "string"} for letter in "pct"]
            template[2]["defaultValue"] = "x" * 128 * 1024
            defaults, prefill = ({f"{letter}{number}": "x" * 128 * 1024} for letter in "pc")
            assert _seed(template, defaults, prefill).approved == 3
        assert tracemalloc.get_traced_memory()[0] < 32 * 1024 * 1024
    finally:
        tracemalloc.stop()
