"""Finds where a JSON text repeats a key. This takes a second parse, so only refusals do it."""

import json
from collections import Counter

from worker.messages.hints import printable

# Keys come from strangers, and the result repeats them.
_LONGEST = 100

Pairs = list[tuple[str, object]]


class _Path(tuple[str, ...]):
    """Stands in for a parsed object: the path from it down to the object that repeats a key."""


def repeated_key(pairs: Pairs) -> str:
    """The first key that these pairs hold more than once."""
    return next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)


def describe_repeated_key(key: str, text: str) -> str:
    """The key, and where `text` repeats it, such as `"gtin" twice in gs1`. Short and printable."""
    try:
        path = _path_in(json.JSONDecoder(object_pairs_hook=_path_or_none).decode(text))
    except ValueError:  # the first parse stopped at the key, and the rest may be no JSON
        path = None
    return f'"{_short(key)}" twice' + (f" in {_short('.'.join(path))}" if path else "")


def _path_or_none(pairs: Pairs) -> _Path | None:
    # The decoder hands in inner objects first, as in the first parse, and keeps the returned value in their place.
    # None in place of all other objects saves memory.
    for key, item in pairs:
        path = _path_in(item)
        if path is not None:
            return _Path((key, *path))
    return _Path() if len(dict(pairs)) != len(pairs) else None


def _path_in(value: object) -> _Path | None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            path = _path_in(item)
            if path is not None:
                return _Path((str(index), *path))
    return value if isinstance(value, _Path) else None


def _short(text: str) -> str:
    return printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
