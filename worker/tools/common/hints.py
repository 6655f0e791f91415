"""Hints for people who correct a file: where something is wrong, and which name they may have meant."""

import difflib
from collections.abc import Iterable


def place(before: str) -> str:
    """The line and column right after the text `before`, both counted from 1."""
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"line {line}, column {column}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a misspelt one, in any case; None if none is near."""
    by_lower = {known_name.lower(): known_name for known_name in known}
    matches = difflib.get_close_matches(name[:100].lower(), by_lower, 1)
    return by_lower[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name, as the end of a sentence."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""
