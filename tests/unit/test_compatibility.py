"""The gate of v1 lets pass what breaks nobody, and nothing else; the schemas of today pass it."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility import incompatibilities
from tests.schema_checks import SCHEMAS
from worker.tools.asyncapi.schemas import schemas

RELEASED = sorted((SCHEMAS / "released").iterdir())
"""A folder for each released version, which `python -m tests.released` writes."""
COMMAND, RESULT = "create.v1.json", "created.v1.json"


def _released(folder: Path = RELEASED[-1]) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}


def _changed(name: str, path: str, value: object) -> dict[str, Any]:
    """The released set with one place of one document set to a value, or taken away (`...`)."""
    documents = deepcopy(_released())
    *parents, last = path.split("/")
    place: Any = documents[name]
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    if value is ...:
        del place[int(last) if isinstance(place, list) else last]
    elif isinstance(place, list):
        place.append(value)
    else:
        place[last] = value
    return documents


def _problems(name: str, path: str, value: object) -> list[str]:
    changed = _changed(name, path, value)
    assert changed != _released(), "the row changes nothing"
    return incompatibilities(_released(), changed)


@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: folder.name)
def test_todays_schemas_are_compatible_with_the_released_ones(folder: Path) -> None:
    """With those of each version: a change that breaks somebody is a new major version."""
    assert incompatibilities(_released(folder), schemas()) == []


def test_a_message_that_is_gone_is_a_breach_and_a_new_one_is_not() -> None:
    """Topics of v1 stay; others may come."""
    rest = {name: schema for name, schema in _released().items() if name != RESULT}
    assert incompatibilities(_released(), rest) == [f"{RESULT}: it is gone"]
    assert incompatibilities(rest, _released()) == []


@pytest.mark.parametrize("name", [COMMAND, RESULT])
@pytest.mark.parametrize(
    ("path", "value"),
    [("title", "Another"), ("description", ...), ("examples", [{}]), ("properties/productId/description", "An id")],
)
def test_words_are_free(name: str, path: str, value: object) -> None:
    """Annotations bind nobody."""
    assert _problems(name, path, value) == []


@pytest.mark.parametrize("name", [COMMAND, RESULT])
@pytest.mark.parametrize("keyword", ["$id", "$schema"])
def test_a_published_id_stays(name: str, keyword: str) -> None:
    """Programs find the schema by it."""
    assert _problems(name, keyword, "https://example.org/") == [f"{name}: {keyword} changed"]


_SERIAL = "$defs/Gs1/properties/serialNumber"
_PARTY = "$defs/Party"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("required", ["gs1"]),
        ("required", ...),
        ("properties/productId/pattern", ...),
        ("properties/confirmOverage", ...),
        ("properties/confirmOverage/type", ["boolean", "null"]),
        ("properties/confirmOverage", {"anyOf": [{"type": "null"}, {"type": "boolean"}]}),
        ("properties/note", {}),
        ("properties/note", True),
        (f"{_SERIAL}/maxLength", 200),
        (f"{_SERIAL}/minLength", 0),
        (f"{_SERIAL}/not", ...),
        (f"{_SERIAL}/not/enum", ["."]),
        (f"{_SERIAL}/type", ["string", "number"]),
        (f"{_PARTY}/anyOf", ...),
        (f"{_PARTY}/anyOf/2", {"required": ["url"]}),
        (f"{_PARTY}/properties/country/enum/0", "XX"),
        (f"{_PARTY}/properties/country", {"type": "string"}),
        (f"{_PARTY}/properties/url/format", ...),
        (f"{_PARTY}/required", ...),
        ("$defs/Parties/additionalProperties", True),
        ("$defs/Parties/additionalProperties", {"$ref": "#/$defs/Party"}),
        ("$defs/Parties/properties/repairer", {"$ref": "#/$defs/Party"}),
        ("properties/parties", {"type": "object"}),
    ],
)
def test_a_command_may_loosen(path: str, value: object) -> None:
    """Whoever produced valid commands still does."""
    assert _problems(COMMAND, path, value) == []


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("required/2", "parties", ": parties is required now"),
        ("properties/productId/pattern", "^[0-9a-f]{24}$", ".productId: another pattern"),
        ("properties/productId/type", "integer", ".productId: the type narrowed to integer"),
        ("properties/productId/minLength", 1, ".productId: minLength rose to 1"),
        ("properties/productId/format", "uuid", ".productId: another format"),
        ("properties/productId", False, ".productId: nothing is allowed any more"),
        ("properties/confirmOverage/const", True, ".confirmOverage: only listed values are allowed now"),
        ("properties/note", {"type": "string"}, ".note: the type narrowed to string"),
        ("additionalProperties", False, ".*: nothing is allowed any more"),
        ("additionalProperties", {"type": "string"}, ".*: the type narrowed to string"),
        ("propertyNames", {"maxLength": 40}, " propertyNames: maxLength fell to 40"),
        ("maxProperties", 9, ": maxProperties fell to 9"),
        ("anyOf", [{"required": ["parties"]}], ": not each alternative is within one of anyOf"),
        (f"{_SERIAL}/maxLength", 20, ".gs1.serialNumber: maxLength fell to 20"),
        (f"{_SERIAL}/not/enum/2", "...", ".gs1.serialNumber: more is excluded"),
        ("$defs/Gs1/properties/gtin/not", {"enum": ["0"]}, ".gs1.gtin: more is excluded"),
        (f"{_PARTY}/anyOf/1", ..., "not each alternative is within one of anyOf"),
        (f"{_PARTY}/properties/country/enum/0", ..., '.country: "AD" is not allowed any more'),
        (f"{_PARTY}/properties/country/type", "null", '.country: "AD" is not allowed any more'),
        (f"{_PARTY}/required/1", "country", ": country is required now"),
        ("$defs/Parties/properties/importer", ..., ".importer: nothing is allowed any more"),
        ("$defs/Parties/properties/importer", {"type": "string"}, ".importer: the type narrowed to string"),
        ("$defs/Parties/minProperties", 1, ".parties: minProperties rose to 1"),
    ],
)
def test_a_command_may_not_narrow(path: str, value: object, why: str) -> None:
    """A body that was allowed is allowed for ever; the message names the place."""
    problems = _problems(COMMAND, path, value)
    assert any(why in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        (RESULT, "properties/note", {"type": "string"}),
        (RESULT, "properties/note", {"$ref": "#/$defs/Overage"}),
        (RESULT, "properties/note", False),
        (RESULT, "$defs/PassportGs1/properties/epc", {"type": "string"}),
        (RESULT, "$defs/EmptyField/properties/hint", {"type": "string"}),
        (RESULT, "$defs/PassportParty/properties/email", {"type": "string"}),
        (RESULT, "$defs/PassportParties/properties/repairer", {"$ref": "#/$defs/PassportParty"}),
        ("conflict.v1.json", "$defs/SerialExists/properties/since", {"type": "string"}),
        ("rejected.v1.json", "$defs/HardBlock/properties/upgradeUri", {"type": "string"}),
        ("rejected.v1.json", "$defs/RequestGs1/properties/batch", {"type": "string"}),
    ],
)
def test_a_result_may_gain_optional_fields(name: str, path: str, value: object) -> None:
    """At every level: what consumers do not know, they ignore."""
    assert _problems(name, path, value) == []


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        (RESULT, "required/99", "overage"),
        (RESULT, "required/0", ...),
        (RESULT, "properties/overage", ...),
        (RESULT, "properties/overage", {"$ref": "#/$defs/FieldCounts"}),
        (RESULT, "properties/status/const", "published"),
        (RESULT, "properties/status", {"enum": ["draft", "published"], "type": "string"}),
        (RESULT, "properties/completionPercentage/maximum", 200),
        (RESULT, "properties/completionPercentage/maximum", 50),
        (RESULT, "properties/completionPercentage/type", "number"),
        (RESULT, "properties/_id/pattern", ...),
        (RESULT, "properties/_id/minLength", 24),
        (RESULT, "properties/createdAt/format", ...),
        (RESULT, "properties/fields/properties", {"note": {}}),
        (RESULT, "properties/fields/additionalProperties", True),
        (RESULT, "properties/fields/additionalProperties/anyOf/2", {"type": "string"}),
        (RESULT, "properties/fields/additionalProperties/anyOf/0", ...),
        (RESULT, "$defs/ApprovedField/properties/source/enum/3", "supplier"),
        (RESULT, "$defs/ApprovedField/properties/source/enum/0", ...),
        (RESULT, "$defs/ApprovedField/properties/value/not", {"enum": [None]}),
        (RESULT, "$defs/PassportParties/minProperties", ...),
        (RESULT, "$defs/PassportParty/anyOf", ...),
        (RESULT, "$defs/PassportGs1/properties/serialNumber/maxLength", 200),
        (RESULT, "additionalProperties", False),
        (RESULT, "properties/gs1", False),
        ("rejected.v1.json", "anyOf/99", {"$ref": "#/$defs/Request"}),
        ("rejected.v1.json", "anyOf/0", ...),
        ("rejected.v1.json", "$defs/HardBlock/properties/status/const", 403),
        ("rejected.v1.json", "$defs/ValidationErrorDetails/properties/fieldErrors/additionalProperties/items", {}),
        ("conflict.v1.json", "$defs/SerialExists/required/99", "since"),
    ],
)
def test_a_result_changes_in_no_other_way(name: str, path: str, value: object) -> None:
    """Neither wider, which breaks who checks new results, nor narrower, which breaks who reads old ones."""
    assert _problems(name, path, value) != []


@pytest.mark.parametrize("name", [COMMAND, RESULT])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("allOf", [{"required": []}]),
        ("if", {"required": ["parties"]}),
        ("unevaluatedProperties", True),
        ("patternProperties", {"^x": {}}),
        ("dependentRequired", {}),
        ("properties/gs1", {"$ref": "https://example.org/gs1.json"}),
        ("properties/gs1", {"$ref": "#/$defs/Nothing"}),
        ("properties/gs1/maxProperties", 100),
        ("properties/status", {"const": "draft", "enum": ["draft"]}),
        ("properties/gs1", {"$dynamicRef": "#gs1"}),
        ("properties/gs1", {"$id": "https://example.org/gs1.json", "type": "object"}),
    ],
)
def test_what_the_gate_does_not_know_does_not_pass(name: str, path: str, value: object) -> None:
    """Even if it might be harmless."""
    assert [problem for problem in _problems(name, path, value) if "cannot judge" in problem]


def test_a_schema_within_itself_is_not_judged() -> None:
    """The gate ends, too."""
    changed = _changed(COMMAND, "$defs/Gs1/properties/parts", {"$ref": "#/$defs/Gs1"})
    assert incompatibilities(_released(), changed) == [f"{COMMAND}: cannot judge $ref #/$defs/Gs1 within itself"]
