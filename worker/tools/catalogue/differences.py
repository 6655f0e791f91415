"""What loading a row would change: field by field, and within fields of many values key by key."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from worker.tools.common.catalogue.rows import Values
from worker.tools.common.catalogue.syntax import ValuePath, show

How = Literal["added", "changed", "removed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One field, by its path within the row; `old` and `new` are None where there is no such value."""

    path: str
    how: How
    old: Any
    new: Any


def differences(old: Values, new: Values) -> Iterator[Difference]:
    """From the row that is kept to that of a file with the same id; what the new one does not have stays as it was."""
    for name, value in new.items():
        if name == "fields":
            yield from _of_fields(_by_key(old[name]), _by_key(value))
        elif isinstance(value, dict):
            yield from _of_objects((name,), old[name], value, _of_values)
        else:
            yield from _of_values((name,), old.get(name), value)


def _by_key(fields: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {field["key"]: {name: value for name, value in field.items() if name != "key"} for field in fields}


def _of_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    yield from _of_objects(("fields",), old, new, _of_field)
    before, after = [key for key in old if key in new], [key for key in new if key in old]
    if before != after:
        yield Difference("fields (order)", "changed", before, after)


def _of_field(path: ValuePath, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    yield from _of_objects(path, old, new, _of_values)


def _of_objects(
    path: ValuePath,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    compare: Callable[[ValuePath, Any, Any], Iterator[Difference]],
) -> Iterator[Difference]:
    for key, value in new.items():
        if key in old:
            yield from compare((*path, key), old[key], value)
        else:
            yield Difference(show((*path, key)), "added", None, value)
    for key, value in old.items():
        if key not in new:
            yield Difference(show((*path, key)), "removed", value, None)


def _of_values(path: ValuePath, old: object, new: object) -> Iterator[Difference]:
    """By their texts: to Python 1, 1.0 and true are the same."""
    if json.dumps(old) != json.dumps(new):
        yield Difference(show(path), "changed", old, new)
