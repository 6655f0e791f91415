"""Results: is all as it was, optional fields aside?"""

import json
from collections.abc import Iterator

from tests.compatibility.plain import Schema


def changed(old: Schema, new: Schema, path: str) -> Iterator[str]:
    """What differs, except optional fields that were gained."""
    if isinstance(old, bool) or isinstance(new, bool):
        if old != new:
            yield f"{path}: changed"
        return
    for keyword in sorted((old.keys() | new.keys()) - {"properties", "required"}):
        before, after = old.get(keyword), new.get(keyword)
        if keyword == "anyOf" and before and after:
            if not (_each_is_among(before, after) and _each_is_among(after, before, turned=True)):
                yield f"{path}: anyOf changed"
        elif keyword in ("items", "additionalProperties") and keyword in old and keyword in new:
            yield from changed(before, after, f"{path} {keyword}")
        elif _sorted(keyword, before) != _sorted(keyword, after):
            yield f"{path}: {keyword} changed"
    if set(old.get("required", ())) != set(new.get("required", ())):
        yield f"{path}: other fields are required"
    yield from _changed_fields(old, new, path)


def _changed_fields(old: Schema, new: Schema, path: str) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for name in before.keys() - after.keys():
        yield f"{path}.{name}: it is gone"
    for name in before.keys() & after.keys():
        yield from changed(before[name], after[name], f"{path}.{name}")
    if after.keys() - before.keys() and not _is_open(old):
        yield f"{path}: fields came where the schema said which may be there"


def _is_open(schema: Schema) -> bool:
    """Whether it says nothing about fields that it does not name."""
    bounds = {"additionalProperties", "propertyNames", "maxProperties", "not", "enum"} & {
        keyword for keyword, value in schema.items() if value != {}
    }
    return not bounds and all(branch and branch.keys() <= {"required"} for branch in schema.get("anyOf", ()))


def _each_is_among(some: list[Schema], others: list[Schema], turned: bool = False) -> bool:
    """Whether each has one among the others that is the same, optional fields aside; `turned`: others came first."""
    pairs = ([(other, one) if turned else (one, other) for other in others] for one in some)
    return all(any(not list(changed(old, new, "")) for old, new in options) for options in pairs)


def _sorted(keyword: str, value: object) -> object:
    """Lists of values and types have no order."""
    if keyword in ("enum", "type") and isinstance(value, list):
        return sorted(map(json.dumps, value))
    return value
