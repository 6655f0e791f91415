"""Commands: is all that was allowed still allowed?"""

import json
from collections.abc import Callable, Iterator
from math import inf

from jsonschema import Draft202012Validator

from tests.compatibility.plain import AT_LEAST, AT_MOST, EQUAL, CannotJudge, Schema


def narrowed(old: Schema, new: Schema, path: str) -> Iterator[str]:
    """What `old` allows and `new` does not, as far as can be told; silent only if there is nothing."""
    if new == {} or old is False:
        return
    if new is False:
        yield f"{path}: nothing is allowed any more"
        return
    try:
        alternatives = list(_alternatives(old))
    except CannotJudge as error:
        yield f"{path}: cannot judge {error}"
        return
    for one in alternatives:
        for keyword in new:
            yield from _NARROWING[keyword](one, new, path)


def _alternatives(schema: Schema) -> Iterator[Schema]:
    """Schemas without `anyOf` that together allow what `schema` does."""
    if schema is False:
        return
    if "anyOf" not in schema:
        yield schema
        return
    base = {keyword: value for keyword, value in schema.items() if keyword != "anyOf"}
    for branch in schema["anyOf"]:
        for one in _alternatives(branch):
            yield _both(base, one)


def _both(base: Schema, branch: Schema) -> Schema:
    if twice := (base.keys() & branch.keys()) - {"required"}:
        raise CannotJudge(f"anyOf with {', '.join(sorted(twice))} inside and beside it")
    required = [*base.get("required", ()), *branch.get("required", ())]
    return {**base, **branch, **({"required": required} if required else {})}


_Check = Callable[[Schema, Schema, str], Iterator[str]]


def _type(old: Schema, new: Schema, path: str) -> Iterator[str]:
    allowed = _types(new)
    allowed |= {"integer"} if "number" in allowed else set()
    if "enum" in old:
        yield from _values(old, {"type": new["type"]}, path)
    elif not _types(old) or _types(old) - allowed:
        yield f"{path}: the type narrowed to {new['type']}"


def _types(schema: Schema) -> set[str]:
    declared = schema.get("type", [])
    return {declared} if isinstance(declared, str) else set(declared)


def _values(old: Schema, new: Schema, path: str) -> Iterator[str]:
    if "enum" not in old:
        yield f"{path}: only listed values are allowed now"
        return
    check = Draft202012Validator({keyword: new[keyword] for keyword in ("type", "enum") if keyword in new})
    for value in old["enum"]:
        if not check.is_valid(value):
            yield f"{path}: {json.dumps(value)} is not allowed any more"


def _equal(keyword: str) -> _Check:
    def check(old: Schema, new: Schema, path: str) -> Iterator[str]:
        if old.get(keyword) != new[keyword]:
            yield f"{path}: another {keyword}"

    return check


def _at_least(keyword: str, floor: float) -> _Check:
    def check(old: Schema, new: Schema, path: str) -> Iterator[str]:
        if old.get(keyword, floor) < new[keyword]:
            yield f"{path}: {keyword} rose to {new[keyword]}"

    return check


def _at_most(keyword: str) -> _Check:
    def check(old: Schema, new: Schema, path: str) -> Iterator[str]:
        if old.get(keyword, inf) > new[keyword]:
            yield f"{path}: {keyword} fell to {new[keyword]}"

    return check


def _required(old: Schema, new: Schema, path: str) -> Iterator[str]:
    for name in new["required"]:
        if name not in old.get("required", ()):
            yield f"{path}: {name} is required now"


def _properties(old: Schema, new: Schema, path: str) -> Iterator[str]:
    for name, schema in new["properties"].items():
        before = old.get("properties", {}).get(name, old.get("additionalProperties", {}))
        yield from narrowed(before, schema, f"{path}.{name}")


def _further(old: Schema, new: Schema, path: str) -> Iterator[str]:
    allowed = new["additionalProperties"]
    yield from narrowed(old.get("additionalProperties", {}), allowed, f"{path}.*")
    for name, schema in old.get("properties", {}).items():
        if name not in new.get("properties", {}):
            yield from narrowed(schema, allowed, f"{path}.{name}")


def _inner(keyword: str) -> _Check:
    def check(old: Schema, new: Schema, path: str) -> Iterator[str]:
        yield from narrowed(old.get(keyword, {}), new[keyword], f"{path} {keyword}")

    return check


def _not(old: Schema, new: Schema, path: str) -> Iterator[str]:
    """What is excluded may only become less."""
    if list(narrowed(new["not"], old.get("not", False), path)):
        yield f"{path}: more is excluded"


def _any_of(old: Schema, new: Schema, path: str) -> Iterator[str]:
    if all(list(narrowed(old, branch, path)) for branch in new["anyOf"]):
        yield f"{path}: not each alternative is within one of anyOf"


_NARROWING: dict[str, _Check] = {
    "type": _type,
    "enum": _values,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _further,
    "propertyNames": _inner("propertyNames"),
    "items": _inner("items"),
    "not": _not,
    "anyOf": _any_of,
    **{keyword: _equal(keyword) for keyword in EQUAL},
    **{keyword: _at_least(keyword, -inf if "imum" in keyword else 0) for keyword in AT_LEAST},
    **{keyword: _at_most(keyword) for keyword in AT_MOST},
}
