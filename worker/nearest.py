"""The nearest known name to one that is not known."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that somebody may have meant, whatever the case; None where none is near."""
    by_lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name[:100].lower(), by_lower, 1)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The same, as the end of a sentence."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""
