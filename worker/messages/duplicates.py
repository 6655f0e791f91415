"""Where JSON repeats a key: looked for only where it does, since that takes a second reading."""

import json
from collections import Counter

from worker.messages.hints import printable

_LONGEST = 100
"""Characters of a key and of a path: they come from a stranger, and go into a result."""

Pairs = list[tuple[str, object]]


class _Found(tuple[str, ...]):
    """The path from an object down to one that repeats a key, in place of that object."""


def repeated_key(pairs: Pairs) -> str:
    """The first key that these pairs hold more than once."""
    return next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)


def told(key: str, text: str) -> str:
    """The key, and where `text` repeats it, if that can be told: `"gtin" twice in gs1`. Short and printable."""
    return f'"{_short(key)}" twice{_place(text)}'


def _place(text: str) -> str:
    try:
        found = json.JSONDecoder(object_pairs_hook=_only_what_is_found).decode(text)
    except ValueError:  # behind the object that repeats the key it is no JSON
        return ""
    path = _inside(found)
    return f" in {_short('.'.join(path))}" if path else ""


def _only_what_is_found(pairs: Pairs) -> _Found | None:
    """Inner objects come first, as in the first reading. The others are dropped, which keeps this fast and small."""
    for key, item in pairs:
        found = _inside(item)
        if found is not None:
            return _Found((key, *found))
    return _Found() if len(dict(pairs)) != len(pairs) else None


def _inside(value: object) -> _Found | None:
    if isinstance(value, list):
        for position, item in enumerate(value):
            found = _inside(item)
            if found is not None:
                return _Found((str(position), *found))
    return value if isinstance(value, _Found) else None


def _short(text: str) -> str:
    return printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
