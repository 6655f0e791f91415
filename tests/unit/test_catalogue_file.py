"""A catalogue file is taken as it is, or refused with every problem in it, each with its path."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from worker.tools.common.catalogue.file import CatalogueError, UnreadableFile, parse_catalogue, read_catalogue
from worker.tools.common.catalogue.models import Catalogue

EXAMPLE = Path(__file__).parents[2] / "deploy" / "catalogue.example.yaml"
COMPANY, TEMPLATE, PRODUCT = "6650a0b1c2d3e4f5a6b7c8d9", "6650a1b2c3d4e5f6a7b8c9d1", "6650a1b2c3d4e5f6a7b8c9d0"
DIGEST = "ab" * 32
DOUBLE = "Expected a number within the range of a double"
LIMIT = "Expected an integer from 0 to 2147483647, or null"
TEXT = "Expected text of at least one character, without control characters"
OBJECT_ID = "Expected 24 hexadecimal digits, as text"
MOMENT = "Expected an ISO 8601 date and time with a time zone, or null"
DATE = "Expected a JSON value, got a date (text that looks like one needs quotes)"
ONE_OF_TWO = "Expected exactly one of sha256 and key"
API_KEY = "Expected text that starts with `tp_`, without spaces"
QUOTES = ", got {} (text that looks like one needs quotes)"
ABSENT = object()


def _tree() -> dict[str, Any]:
    """The catalogue of the example."""
    return {
        "plans": [{"id": "growth", "maxDpps": 100, "overagePriceCents": 75, "maxV1WritesPerDay": 200}],
        "companies": [
            {
                "_id": COMPANY,
                "name": "EuroBat",
                "plan": "growth",
                "subscription": "active",
                "prefill": {"manufacturerName": "EuroBat GmbH"},
                "apiKeys": [{"sha256": DIGEST, "label": "mes-1", "revokedAt": None}],
            }
        ],
        "templates": [
            {
                "_id": TEMPLATE,
                "category": "battery",
                "version": 1,
                "fields": [{"key": "manufacturerName", "dataType": "string", "defaultValue": None}],
            }
        ],
        "products": [
            {
                "_id": PRODUCT,
                "companyId": COMPANY,
                "templateId": TEMPLATE,
                "name": "48V pack",
                "model": "BP-48V-100",
                "defaultFieldValues": {},
            }
        ],
    }


def _with(path: str, value: object) -> str:
    """The catalogue with one value replaced, added or (ABSENT) taken away; `path` as in `products.0.name`."""
    tree: Any = _tree()
    target: Any = tree
    *steps, last = (int(step) if step.isdecimal() else step for step in path.split("."))
    for step in steps:
        target = target[step]
    if value is ABSENT:
        del target[last]
    else:
        target[last] = value
    return json.dumps(tree)


def _problems(text: str, suffix: str = ".json") -> list[str]:
    with pytest.raises(CatalogueError) as caught:
        parse_catalogue(text, suffix)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def _yaml(api_keys: str) -> str:
    return f"companies: [{{_id: {COMPANY}, name: n, plan: p, subscription: null, apiKeys: [{api_keys}]}}]"


def test_the_shape_of_the_contract_is_taken() -> None:
    """The example comes out as typed rows."""
    catalogue = parse_catalogue(json.dumps(_tree()), ".json")
    assert catalogue.plans[0].max_v1_writes_per_day == 200
    assert catalogue.companies[0].api_keys[0].digest == bytes.fromhex(DIGEST)
    assert catalogue.companies[0].prefill == {"manufacturerName": "EuroBat GmbH"}
    assert catalogue.templates[0].fields[0].data_type == "string"
    assert catalogue.products[0].company_id == COMPANY


def test_the_sample_of_the_repository_is_taken() -> None:
    """The published sample is a good catalogue, and its battery template has at least twelve fields."""
    catalogue = read_catalogue(EXAMPLE)
    assert len(catalogue.companies) >= 3
    assert len(catalogue.templates[0].fields) >= 12


@pytest.mark.parametrize("suffix", [".json", ".JSON", ".yaml", ".yml", "", ".txt"])
def test_json_is_read_under_any_extension(suffix: str) -> None:
    """JSON is YAML too, and without an extension that says otherwise it is tried first."""
    assert len(parse_catalogue(json.dumps(_tree()), suffix).products) == 1


def test_yaml_is_read_without_an_extension() -> None:
    """Where JSON fails YAML is tried, unless the extension says JSON."""
    text = "plans:\n- {id: p, maxDpps: null, overagePriceCents: 0, maxV1WritesPerDay: 1}\n"
    assert parse_catalogue(text).plans[0].overage_price_cents == 0
    assert _problems(text, ".json") == ["Expected JSON, got something else at line 1, column 1"]


def test_every_section_is_optional() -> None:
    """An empty object is a catalogue that brings nothing."""
    assert parse_catalogue("{}") == Catalogue()


def test_what_may_be_left_out_has_an_empty_value() -> None:
    """Prefill, API keys, label, revocation, default values: all may be missing."""
    text = json.dumps(
        {
            "companies": [
                {"_id": COMPANY, "name": "n", "plan": "p", "subscription": None, "apiKeys": [{"key": "tp_a"}]}
            ],
            "templates": [
                {"_id": TEMPLATE, "category": "c", "version": 1, "fields": [{"key": "k", "dataType": "string"}]}
            ],
            "products": [{"_id": PRODUCT, "companyId": COMPANY, "templateId": TEMPLATE, "name": "n", "model": "m"}],
        }
    )
    catalogue = parse_catalogue(text)
    assert catalogue.companies[0].prefill == {}
    assert (catalogue.companies[0].api_keys[0].label, catalogue.companies[0].api_keys[0].revoked_at) == ("", None)
    assert catalogue.templates[0].fields[0].default_value is None
    assert catalogue.products[0].default_field_values == {}


def test_ids_and_hashes_are_taken_in_either_case() -> None:
    """Object ids are kept in lower case, as commands are compared."""
    catalogue = parse_catalogue(json.dumps(_tree()).replace(COMPANY, COMPANY.upper()).replace(DIGEST, DIGEST.upper()))
    assert (catalogue.companies[0].id, catalogue.products[0].company_id) == (COMPANY, COMPANY)
    assert catalogue.companies[0].api_keys[0].digest == bytes.fromhex(DIGEST)


def test_a_raw_key_is_hashed_and_shown_nowhere() -> None:
    """Of a raw key only the SHA-256 is kept, in whatever form the catalogue is shown."""
    catalogue = parse_catalogue(_with("companies.0.apiKeys", [{"key": "tp_top_secret"}]))
    assert catalogue.companies[0].api_keys[0].digest == sha256(b"tp_top_secret").digest()
    assert "tp_top_secret" not in f"{catalogue!r} {catalogue} {catalogue.model_dump()}"


@pytest.mark.parametrize(
    "text",
    [
        _yaml("{key: tp_top_secret, sha256: " + DIGEST + "}"),
        _yaml("{key: tp_top_secret, label: 1}"),
        _yaml("{key: tp_top_secret}, {key: tp_top_secret}"),
        _yaml("{key: tp_top_secret é}"),
        _yaml("{tp_top_secret: 1}"),
        _yaml("{tp_top_secret: 1, tp_top_secret: 2}"),
        _yaml("{key: *tp_top_secret}"),
        _yaml("{key: !tp_top_secret x}"),
        _yaml("{key: tp_top_secret"),
        _yaml('{key: "tp_top_secret'),
    ],
)
def test_no_problem_shows_a_raw_key(text: str) -> None:
    """Wherever an API key went astray in the file, the problems do not repeat it."""
    assert "top_secret" not in str(_problems(text, ".yaml"))


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-03-31T22:00:00Z", datetime(2026, 3, 31, 22, tzinfo=UTC)),
        ("2026-04-01T00:00:00.250+02:00", datetime(2026, 3, 31, 22, 0, 0, 250_000, tzinfo=UTC)),
        ("'2026-04-01T00:00:00+02:00'", datetime(2026, 3, 31, 22, tzinfo=UTC)),
        ("null", None),
    ],
)
def test_times_have_a_zone(written: str, moment: datetime | None) -> None:
    """YAML may hand over a text or a time; both come out in UTC.

    Seen to fail before: `closedAt` without quotes was refused.
    """
    times = f"closedAt: {written}, signaturesRequiredFrom: {written}"
    keys = f"apiKeys: [{{key: tp_a, revokedAt: {written}}}]"
    text = f"companies: [{{_id: {COMPANY}, name: n, plan: p, subscription: null, {times}, {keys}}}]"
    (company,) = parse_catalogue(text, ".yaml").companies
    assert company.api_keys[0].revoked_at == company.closed_at == company.signatures_required_from == moment


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("plans", {}, "plans: Expected a list"),
        ("plans.0", "growth", "plans[0]: Expected an object"),
        ("plans.0.id", "", f"plans[0].id: {TEXT}"),
        ("plans.0.maxDpps", ABSENT, "plans[0].maxDpps: Required"),
        ("plans.0.maxDpps", "100", f"plans[0].maxDpps: {LIMIT}"),
        ("plans.0.maxDpps", True, f"plans[0].maxDpps: {LIMIT}"),
        ("plans.0.maxDpps", 100.0, f"plans[0].maxDpps: {LIMIT}"),
        ("plans.0.overagePriceCents", -1, f"plans[0].overagePriceCents: {LIMIT}"),
        ("plans.0.maxV1WritesPerDay", 2**31, f"plans[0].maxV1WritesPerDay: {LIMIT}"),
        (
            "plans.0.max_dpps",
            1,
            "plans[0].max_dpps: Expected no fields other than id, maxDpps, overagePriceCents, maxV1WritesPerDay",
        ),
        ("plan", [], "plan: Expected no fields other than plans, companies, templates, products"),
        ("companies.0._id", COMPANY[1:], f"companies[0]._id: {OBJECT_ID}"),
        ("companies.0._id", 665012345678901234567890, f"companies[0]._id: {OBJECT_ID}{QUOTES.format('a number')}"),
        ("companies.0.name", "a\u0000", f"companies[0].name: {TEXT}"),
        ("companies.0.name", "\ud800", "companies[0].name: Expected text without lone surrogates"),
        ("companies.0.subscription", "", f"companies[0].subscription: {TEXT}, or null"),
        (
            "companies.0.subscription",
            False,
            f"companies[0].subscription: {TEXT}, or null{QUOTES.format('true or false')}",
        ),
        ("companies.0.subscription", ABSENT, "companies[0].subscription: Required"),
        ("companies.0.prefill", None, "companies[0].prefill: Expected an object"),
        (
            "companies.0.prefill",
            {"a b": [float("nan")]},
            f'companies[0].prefill["a b"][0]: {DOUBLE}, got NaN or infinity',
        ),
        ("companies.0.prefill", {"a": 10**400}, f"companies[0].prefill.a: {DOUBLE}"),
        (
            "companies.0.prefill",
            {"\ud800": 1},
            'companies[0].prefill["\\ud800"]: Expected text without lone surrogates',
        ),
        ("companies.0.apiKeys.0.sha256", "ab", "companies[0].apiKeys[0].sha256: Expected 64 hexadecimal digits"),
        ("companies.0.apiKeys.0.sha256", ABSENT, f"companies[0].apiKeys[0]: {ONE_OF_TWO}"),
        ("companies.0.apiKeys.0.key", "tp_a", f"companies[0].apiKeys[0]: {ONE_OF_TWO}"),
        ("companies.0.apiKeys.0", {"key": "abc"}, f"companies[0].apiKeys[0].key: {API_KEY}"),
        ("companies.0.apiKeys.0", {"key": None}, f"companies[0].apiKeys[0].key: {API_KEY}"),
        (
            "companies.0.apiKeys.0.label",
            None,
            "companies[0].apiKeys[0].label: Expected text without control characters",
        ),
        ("companies.0.apiKeys.0.revokedAt", "2026-04-01", f"companies[0].apiKeys[0].revokedAt: {MOMENT}"),
        ("companies.0.apiKeys.0.revokedAt", "2026-04-01T00:00:00", f"companies[0].apiKeys[0].revokedAt: {MOMENT}"),
        ("companies.0.apiKeys.0.revokedAt", 1775000000, f"companies[0].apiKeys[0].revokedAt: {MOMENT}"),
        (
            "companies.0.apiKeys.0.revokedAt",
            "0001-01-01T00:00:00+14:00",
            f"companies[0].apiKeys[0].revokedAt: {MOMENT}",
        ),
        ("templates.0.version", "1", "templates[0].version: Expected an integer from 0 to 2147483647"),
        ("templates.0.fields.0.dataType", ABSENT, "templates[0].fields[0].dataType: Required"),
        (
            "templates.0.fields.0.type",
            "string",
            "templates[0].fields[0].type: Expected no fields other than key, dataType, defaultValue",
        ),
        ("products.0.templateId", None, f"products[0].templateId: {OBJECT_ID}"),
        ("products.0.defaultFieldValues", [], "products[0].defaultFieldValues: Expected an object"),
    ],
)
def test_what_does_not_fit_is_named_with_its_path(path: str, value: object, problem: str) -> None:
    """One sentence for one wrong value: where it stands and what was expected; nothing is coerced."""
    assert _problems(_with(path, value)) == [problem]


def test_all_problems_are_reported_at_once() -> None:
    """Wrong values, repeated values and repeated keys of several sections come in one report."""
    tree = _tree()
    tree["plans"] *= 2
    tree["companies"] += [{**tree["companies"][0], "_id": COMPANY.upper(), "name": 1}]
    tree["templates"][0]["fields"] *= 2
    tree["products"] *= 2
    text = json.dumps(tree).replace('"category":', '"category": "x", "category":')
    assert sorted(_problems(text)) == [
        "companies[1]._id: Expected a unique value, got that of companies[0]._id",
        "companies[1].apiKeys[0]: Expected a unique value, got that of companies[0].apiKeys[0]",
        f"companies[1].name: {TEXT}{QUOTES.format('a number')}",
        "plans[1].id: Expected a unique value, got that of plans[0].id",
        "products[1]._id: Expected a unique value, got that of products[0]._id",
        "templates[0].category: Expected a key once, got it more than once",
        "templates[0].fields[1].key: Expected a unique value, got that of templates[0].fields[0].key",
    ]


def test_a_raw_key_and_its_hash_are_the_same_key() -> None:
    """Two companies cannot share a key by writing it in two ways."""
    keys = f"{{key: tp_a}}, {{sha256: {sha256(b'tp_a').hexdigest().upper()}}}"
    assert _problems(_yaml(keys), ".yaml") == [
        "companies[0].apiKeys[1]: Expected a unique value, got that of companies[0].apiKeys[0]"
    ]


@pytest.mark.parametrize(
    ("prefill", "problem"),
    [
        ("{a: 1, a: 1}", "companies[0].prefill.a: Expected a key once, got it more than once"),
        ("{a: {b: 2026-01-01}}", f"companies[0].prefill.a.b: {DATE}"),
        ("{a: 2026-01-01T00:00:00Z}", f"companies[0].prefill.a: {DATE}"),
        ("{revokedAt: 2026-01-01T00:00:00Z}", f"companies[0].prefill.revokedAt: {DATE}"),
        ("{a: .inf}", f"companies[0].prefill.a: {DOUBLE}, got NaN or infinity"),
        (
            "{1: a}",
            "companies[0].prefill.1: Expected keys to be text (in quotes, if YAML reads them as something else)",
        ),
        (
            "{a: !!binary aGk=}",
            "companies[0].prefill.a: Expected a JSON value, got a YAML bytes (text that looks like one needs quotes)",
        ),
    ],
)
def test_yaml_is_held_to_what_json_can_say(prefill: str, problem: str) -> None:
    """Repeated keys, dates, infinities, keys that are no text and binary values have no place in the catalogue."""
    text = f"companies: [{{_id: {COMPANY}, name: n, plan: p, subscription: null, prefill: {prefill}}}]"
    assert _problems(text, ".yaml") == [problem]


def test_text_that_yaml_reads_as_something_else_needs_quotes() -> None:
    """A rule on characters alone would not tell what is wrong with `on` and `7`."""
    plan = "{id: 7, maxDpps: 1, overagePriceCents: null, maxV1WritesPerDay: null}"
    company = "{_id: 665000000000000000000000, name: n, plan: on, subscription: null}"
    assert _problems(f"plans: [{plan}]\ncompanies: [{company}]", ".yaml") == [
        "companies[0].plan: Expected true or false, or text in quotes, got on",
        "plans[0].id: Expected text of at least one character, without control characters"
        ", got a number (text that looks like one needs quotes)",
        "companies[0]._id: Expected 24 hexadecimal digits, as text"
        ", got a number (text that looks like one needs quotes)",
    ]


def test_a_merged_key_may_be_overridden() -> None:
    """YAML's `<<` brings defaults: giving such a key again is no repetition."""
    text = (
        "plans:\n"
        "- &base {id: a, maxDpps: 1, overagePriceCents: null, maxV1WritesPerDay: null}\n"
        "- &next {<<: *base, id: b, maxDpps: 2}\n"
        "- {<<: *next, id: c, maxDpps: 3}\n"
    )
    assert [plan.max_dpps for plan in parse_catalogue(text, ".yaml").plans] == [1, 2, 3]


@pytest.mark.parametrize("text", ["", "[]", "1"])
def test_a_text_that_is_no_object_is_refused(text: str) -> None:
    """Whatever else it is."""
    assert _problems(text, ".yaml") == ["file: Expected an object with plans, companies, templates, products"]


_YAML_AT = "Expected YAML, got something else at line"
_DEPTH = "Expected values that neither nest too deeply nor contain themselves"
_NUMBER = "a date that exists, or an integer of at most 4300 digits"


@pytest.mark.parametrize(
    ("text", "suffix", "problem"),
    [
        ('{"plans":\n [{]}', "json", "Expected JSON, got something else at line 2, column 4"),
        ("[" * 100_000, "json", "Expected JSON that does not nest too deeply, and integers of at most 4300 digits"),
        ("1" * 5_000, "json", "Expected JSON that does not nest too deeply, and integers of at most 4300 digits"),
        ("[" * 2_000, "yaml", "Expected YAML that does not nest too deeply"),
        ("a: 1\nb: 2026-02-30", "txt", f"{_YAML_AT} 2, column 4 (expected {_NUMBER})"),
        ("a: " + "1" * 5_000, "yaml", f"{_YAML_AT} 1, column 4 (expected {_NUMBER})"),
        ("a: 1\nb: c: d", "yaml", f"{_YAML_AT} 2, column 5 (mapping values are not allowed here)"),
        ("a: 1\nb: \a", "yaml", "Expected YAML of printable characters, got something else at line 2, column 4"),
        ('{"a":' * 500 + "1" + "}" * 500, "json", _DEPTH),
        ("a: &a [*a]", "yaml", _DEPTH),
        ("a: *tp_secret", "yaml", f"{_YAML_AT} 1, column 4 (found undefined alias 'tp_…"),
    ],
)
def test_a_broken_file_is_named_with_the_place(tmp_path: Path, text: str, suffix: str, problem: str) -> None:
    """Where it stops being readable; never with a crash, nor with a key. Seen to fail before: the file had no name."""
    path = tmp_path / f"catalogue.{suffix}"
    path.write_text(text)
    with pytest.raises(UnreadableFile) as caught:
        read_catalogue(path)
    assert str(caught.value) == f"{path}: {problem}"


@pytest.mark.parametrize("text", ["010", "0x10", "0b11", "1_000", "12:30", "-1:30.5", "1_0.5"])
def test_numbers_that_yaml_reads_differently_are_refused(text: str) -> None:
    """Seen to fail before: a limit of 010 was 8, and a time of 12:30 in a field was 750."""
    plan = f"{{id: p, maxDpps: {text}, overagePriceCents: null, maxV1WritesPerDay: null}}"
    assert _problems(f"plans: [{plan}]", ".yaml") == [
        "plans[0].maxDpps: Expected a number in decimal digits (text that looks like a number needs quotes)"
    ]


@pytest.mark.parametrize("text", ["0", "-10", "+5", "0.5", "5.", ".5", "1.5e+3", "'010'", "08", "1e3"])
def test_other_numbers_and_texts_are_taken(text: str) -> None:
    """Also those that are text to YAML."""
    (problem,) = _problems(f"a: {text}", ".yaml")
    assert problem.startswith("a: Expected no fields other")


def test_no_python_object_is_made_of_a_tag() -> None:
    """YAML tags of Python are refused."""
    assert "could not determine a constructor" in _problems("a: !!python/name:os.system ''", ".yaml")[0]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """A missing one, a folder, and one that is not UTF-8 are told as such; a byte order mark does no harm."""
    path = tmp_path / "catalogue.yaml"
    with pytest.raises(UnreadableFile, match=r"^cannot read .*catalogue\.yaml: No such file or directory$"):
        read_catalogue(path)
    with pytest.raises(UnreadableFile, match=r"^cannot read .*: Is a directory$"):
        read_catalogue(tmp_path)
    path.write_bytes("\ufeffä: 1\nä".encode() + b"\xff")
    with pytest.raises(UnreadableFile, match=r"yaml: Expected UTF-8, got an invalid byte at line 2, column 2$"):
        read_catalogue(path)
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert read_catalogue(path) == Catalogue()


def test_defaults_that_would_not_fit_into_an_event_are_refused() -> None:
    """A created event that fits into no topic would stop its partition; the catalogue is the place to say so."""
    tree = _tree()
    tree["companies"][0]["prefill"] = tree["products"][0]["defaultFieldValues"] = {"a": "x" * 600_000}
    tree["templates"][0]["fields"][0]["defaultValue"] = "x" * 600_000
    with pytest.raises(CatalogueError) as refused:
        parse_catalogue(json.dumps(tree))
    assert refused.value.problems == [
        f"{path}: Expected at most 131072 bytes of JSON"
        for path in ("companies[0].prefill", "templates[0].fields", "products[0].defaultFieldValues")
    ]


@pytest.mark.parametrize("key", ["010", "12:30", "2026-05-09"])
@pytest.mark.parametrize("member", ["prefill", "defaultValue"])
def test_a_key_that_is_no_text_is_named_as_it_is_written(key: str, member: str) -> None:
    """Seen to fail before: `TypeError: keys must be str, …` ended the verb, or the path had an address in memory."""
    value = f"{{{key}: a}}"
    company = f"{{_id: {COMPANY}, name: n, plan: p, subscription: null, prefill: {value}}}"
    fields = f"[{{key: k, dataType: object, defaultValue: {value}}}]"
    template = f"{{_id: {TEMPLATE}, category: c, version: 1, fields: {fields}}}"
    text = f"companies: [{company}]" if member == "prefill" else f"templates: [{template}]"
    (problem,) = _problems(text, ".yaml")
    assert key in problem
    assert "Expected keys to be text" in problem


@pytest.mark.parametrize("word", ["NO", "no", "off", "Yes", "on"])
def test_a_word_is_no_truth_value(word: str) -> None:
    """Seen to fail before: the country NO was false in each passport, without a word."""
    text = f"companies: [{{_id: {COMPANY}, name: n, plan: p, subscription: null, prefill: {{country: {word}}}}}]"
    assert _problems(text, ".yaml") == [
        f"companies[0].prefill.country: Expected true or false, or text in quotes, got {word}"
    ]


@pytest.mark.parametrize("text", ["!!bool maybe", "!!timestamp today", '!!int ""', '!!float ""'])
def test_a_tag_that_does_not_fit_its_text(text: str) -> None:
    """Seen to fail before: `KeyError: 'maybe'`."""
    assert "got something else at line 1, column 4" in _problems(f"a: {text}", ".yaml")[0]
