"""The gate of v1 is sound: tried with thousands of random schemas, and what may become of them."""

from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.compatibility import incompatibilities

COMMAND, RESULT = "create.v1.json", "created.v1.json"


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
