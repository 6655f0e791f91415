"""The gate of v1 lets pass what breaks nobody, and nothing else; the schemas of today pass it."""

import json
from copy import deepcopy
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.compatibility import incompatibilities
from tests.schema_checks import SCHEMAS
from worker.messages.schemas import schemas

RELEASED = SCHEMAS / "released"
COMMAND, RESULT = "create.v1.json", "created.v1.json"


def _released() -> dict[str, Any]:
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in RELEASED.glob("*.json")}


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


def test_todays_schemas_are_compatible_with_the_released_ones() -> None:
    """A change that breaks somebody is a new major version. A release copies `schemas/*.v1.json` to `released/`."""
    assert incompatibilities(_released(), schemas()) == []


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


def _any_schema(chance: Random, depth: int = 2) -> Any:
    """Some keywords with small values, so that schemas and bodies often meet."""
    if depth == 0 or chance.random() < 0.1:
        return chance.random() < 0.7
    schema = {
        keyword: _any_value(keyword, chance, depth - 1)
        for keyword in chance.sample(_KEYWORDS, chance.choice((1, 2, 3)))
    }
    return schema if not {"const", "enum"} <= schema.keys() else {}


_KEYWORDS = (
    *("type", "enum", "const", "minLength", "maxLength", "minimum", "exclusiveMaximum", "maxProperties", "pattern"),
    *("required", "properties", "additionalProperties", "propertyNames", "items", "not", "anyOf"),
)
_TYPES = ("string", "integer", "number", "object", "array", "null", ["string", "null"], ["object", "integer"])
_LEAVES = (None, True, 0, 1, 2.5, "", "x", "xy")


def _any_value(keyword: str, chance: Random, depth: int) -> Any:
    if keyword == "type":
        return chance.choice(_TYPES)
    if keyword == "enum":
        return chance.sample([*_LEAVES, {}, {"a": 1}], 3)
    if keyword == "const":
        return chance.choice(_LEAVES)
    if keyword == "pattern":
        return chance.choice(("^x", "y$"))
    if keyword == "required":
        return chance.sample(("a", "b"), chance.choice((1, 2)))
    if keyword == "properties":
        return {name: _any_schema(chance, depth) for name in chance.sample(("a", "b"), chance.choice((1, 2)))}
    if keyword == "anyOf":
        return [_any_schema(chance, depth) for _ in range(2)]
    if keyword.startswith(("m", "exclusive")):
        return chance.choice((0, 1, 2))
    return _any_schema(chance, depth)


def _successor(old: Any, chance: Random) -> Any:
    """A schema with a keyword less, more or other, at the top or further in; or another one altogether."""
    if not isinstance(old, dict) or not old or chance.random() < 0.1:
        return _any_schema(chance)
    if chance.random() < 0.2:
        return {**old, "properties": {**old.get("properties", {}), "c": _any_schema(chance)}}
    keyword = chance.choice(sorted(old))
    inner = old[keyword]
    if isinstance(inner, dict) and keyword != "const" and chance.random() < 0.6:
        return {**old, keyword: _successor_of_inner(keyword, inner, chance)}
    other = _any_schema(chance)
    kept = {name: value for name, value in old.items() if name != keyword or chance.random() < 0.4}
    return {**kept, **(other if isinstance(other, dict) and chance.random() < 0.5 else {})}


def _successor_of_inner(keyword: str, inner: dict[str, Any], chance: Random) -> Any:
    if keyword != "properties":
        return _successor(inner, chance)
    name = chance.choice(("a", "b"))
    return {**inner, name: _successor(inner.get(name), chance)}


def _any_body(chance: Random, depth: int = 2) -> object:
    if depth and chance.random() < 0.6:
        return {name: _any_body(chance, depth - 1) for name in chance.sample(("a", "b", "c"), chance.choice((0, 1, 2)))}
    return [_any_body(chance, 0)] if chance.random() < 0.1 else chance.choice(_LEAVES)


@pytest.mark.parametrize("name", [COMMAND, RESULT])
def test_what_passes_breaks_nobody_whatever_the_schemas_are(name: str) -> None:
    """The gate may refuse too much, but lets nothing pass that breaks old producers, or who checks with old schemas."""
    chance = Random(20261125)
    bodies = [_any_body(chance) for _ in range(60)]
    passed = 0
    for _ in range(4000):
        old = _any_schema(chance)
        new = _successor(old, chance)
        if not (isinstance(old, dict) and isinstance(new, dict)) or old == new:
            continue
        if not incompatibilities({name: old}, {name: new}):
            passed += 1
            before, after = Draft202012Validator(old), Draft202012Validator(new)
            narrow, wide = (before, after) if name == COMMAND else (after, before)
            assert [body for body in bodies if narrow.is_valid(body) and not wide.is_valid(body)] == [], (old, new)
    assert passed > 100
