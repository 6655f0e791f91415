"""Hints for people who mend a text: where in it something is wrong, and which name was meant."""

import difflib
from collections.abc import Iterable


def place(before: str) -> str:
    """Where a text goes on behind `before`. Lines and columns count from 1."""
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"line {line}, column {column}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a misspelt one, in any case; None where none is near."""
    by_lower = {known_name.lower(): known_name for known_name in known}
    matches = difflib.get_close_matches(name[:100].lower(), by_lower, 1)
    return by_lower[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name, as the end of a sentence."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""
