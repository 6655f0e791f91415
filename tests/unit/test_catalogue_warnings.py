"""What of a catalogue is warned of: it is loaded, as the contract has it, but nobody can have meant it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from worker.tools.catalogue.warnings import warnings_of
from worker.tools.common.catalogue.file import parse_catalogue, read_catalogue
from worker.tools.common.catalogue.models import DATA_TYPES, SUBSCRIPTIONS, TemplateField
from worker.tools.demo.makers import catalogue_text

COMPANY, TEMPLATE, PRODUCT = "a" * 24, "b" * 24, "c" * 24
ONE_OF = "Expected one of string, number, integer, boolean, array, object"


def _warnings(
    subscription: str | None = "active",
    fields: list[dict[str, Any]] | None = None,
    defaults: dict[str, Any] | None = None,
    prefill: dict[str, Any] | None = None,
    template: str = TEMPLATE,
    stored: dict[str, Any] | None = None,
    closing: dict[str, Any] | None = None,
    closed_at: datetime | None = None,
) -> list[str]:
    plan = {"id": "p", "maxDpps": None, "overagePriceCents": None, "maxV1WritesPerDay": None}
    company = {"_id": COMPANY, "name": "n", "plan": "p", "subscription": subscription, "prefill": prefill or {}}
    company |= closing or {}
    product = {"_id": PRODUCT, "companyId": COMPANY, "templateId": template, "name": "n", "model": "m"}
    tree = {
        "plans": [plan],
        "companies": [company],
        "templates": [{"_id": TEMPLATE, "category": "c", "version": 1, "fields": fields or []}],
        "products": [{**product, "defaultFieldValues": defaults or {}}],
    }
    closings = {} if closed_at is None else {COMPANY: closed_at}
    return list(warnings_of(parse_catalogue(json.dumps(tree)), stored or {}, closings))


def _field(data_type: str, default: object = None, key: str = "k") -> dict[str, Any]:
    return {"key": key, "dataType": data_type, "defaultValue": default}


@pytest.mark.parametrize("subscription", [*SUBSCRIPTIONS, None])
def test_known_subscriptions_are_nothing_to_say(subscription: str | None) -> None:
    """Nor is none."""
    assert _warnings(subscription) == []


@pytest.mark.parametrize(
    ("subscription", "end"),
    [("aktive", 'got "aktive"; did you mean active?'), ("PAST_DUE", 'got "PAST_DUE"; did you mean past_due?'),
     ("x", 'got "x"'), ("x" * 500, f'got "{"x" * 60}"')],
)  # fmt: skip
def test_a_subscription_that_nobody_knows_is_told_with_the_nearest(subscription: str, end: str) -> None:
    """Such a company may not write."""
    expected = f"Expected one of {', '.join(SUBSCRIPTIONS)}, or null, "
    assert _warnings(subscription) == [f"companies[0].subscription: {expected}{end}"]


@pytest.mark.parametrize(
    ("data_type", "end"),
    [("strng", 'got "strng"; did you mean string?'), ("String", 'got "String"; did you mean string?'),
     ("date", 'got "date"'), ("\u202ex", r'got "\u202ex"')],
)  # fmt: skip
def test_a_data_type_that_nobody_knows_is_told_with_the_nearest(data_type: str, end: str) -> None:
    """Its defaults may then be of any type."""
    warning = f"templates[0].fields[0].dataType: {ONE_OF}, {end}"
    assert _warnings(fields=[_field(data_type, 7)], defaults={"k": []}) == [warning]


VALUES: dict[str, list[object]] = {
    "string": ["x"],
    "number": [1.5],
    "integer": [1, 2.0],
    "boolean": [True, False],
    "array": [[]],
    "object": [{}],
}


@pytest.mark.parametrize("data_type", DATA_TYPES)
def test_a_default_is_of_the_type_of_its_field(data_type: str) -> None:
    """In template, product and prefill alike; null and "" are no values."""
    for kind, values in VALUES.items():
        for value in (*values, None, ""):
            found = _warnings(fields=[_field(data_type, value)], defaults={"k": value}, prefill={"k": value})
            fits = kind == data_type or value in (None, "") or (kind == "integer" and data_type == "number")
            wrong = f"Expected a value of type {data_type}, got {'number' if kind == 'integer' else kind}"
            paths = (
                "companies[0].prefill.k",
                "templates[0].fields[0].defaultValue",
                "products[0].defaultFieldValues.k",
            )
            assert found == ([] if fits else [f"{path}: {wrong}" for path in paths])


def test_a_default_for_a_field_that_the_template_lacks_is_told_with_the_nearest() -> None:
    """It would never be seen in a passport."""
    assert _warnings(fields=[_field("string", key="mass")], defaults={"mas": "1"}, prefill={"Mass": "1", "z": 1}) == [
        "companies[0].prefill.Mass: Expected a field of the company's products in the file; did you mean mass?",
        "companies[0].prefill.z: Expected a field of the company's products in the file",
        "products[0].defaultFieldValues.mas: Expected a field of the product's template; did you mean mass?",
    ]


def test_templates_of_the_database_count_as_those_of_the_file() -> None:
    """And of one that is in neither, nothing can be said: the load will be refused."""
    other = "d" * 24
    stored = {other: {"k": TemplateField.model_construct(key="k", data_type="number")}}
    wrong = "products[0].defaultFieldValues.k: Expected a value of type number, got string"
    assert _warnings(defaults={"k": "x"}, template=other, stored=stored) == [wrong]
    assert _warnings(defaults={"k": "x"}, template=other) == []


def test_an_empty_catalogue_is_told() -> None:
    """A file of another kind, perhaps."""
    assert list(warnings_of(parse_catalogue("{}"), {}, {})) == ["file: has no rows"]


def test_the_samples_are_as_they_should_be() -> None:
    """Whoever starts with one of them hears of his own mistakes alone."""
    example = read_catalogue(Path(__file__).parents[2] / "deploy" / "catalogue.example.yaml")
    demo = parse_catalogue(catalogue_text(), ".yaml")
    assert [*warnings_of(example, {}, {}), *warnings_of(demo, {}, {})] == []


@pytest.mark.parametrize(
    ("closing", "said"),
    [
        ({}, ": The company is closed from {} on, and stays so: its commands get 401, whatever its keys"),
        ({"closedAt": None}, ".closedAt: The company is closed from {} on, and this file opens it again"),
        (
            {"closedAt": "2026-05-09T10:00:01Z"},
            ".closedAt: The company is closed from {} on, and this file opens it again",
        ),
        ({"closedAt": "2026-05-09T12:00:00+02:00"}, None),
    ],
)
def test_a_closed_company_is_named(closing: dict[str, Any], said: str | None) -> None:
    """Whether it stays closed, or the file opens it again. A file that says the same says nothing new."""
    warnings = _warnings(closing=closing, closed_at=datetime(2026, 5, 9, 10, tzinfo=UTC))
    assert warnings == ([] if said is None else [f"companies[0]{said.format('2026-05-09T10:00:00Z')}"])
