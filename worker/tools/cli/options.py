"""Parses or checks option values that several verbs share. Functions raise `BadUsage`, which says what was expected."""

import re
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from worker.domain.command import is_object_id
from worker.tools.cli.errors import BadUsage
from worker.tools.common.selection import BadSelection, time_of

_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=366)


def object_id(name: str, text: str) -> str:
    """Parse 24 hexadecimal digits of the option `name`, returned in lower case."""
    if not is_object_id(text):
        raise BadUsage(f"{name}: expected 24 hexadecimal digits, got {text!r}")
    return text.lower()


def timestamp(name: str, text: str) -> datetime:
    """Parse an RFC 3339 time of the option `name`."""
    try:
        return time_of(text)
    except BadSelection as error:
        raise BadUsage(f"{name}: {error}") from error


def duration(name: str, text: str) -> timedelta:
    """Parse a number of seconds, minutes, hours or days, at most 366 days, of the option `name`."""
    match = _DURATION.fullmatch(text)
    parsed = None if match is None else timedelta(**{_UNITS[match[2]]: int(match[1])})
    if parsed is None or parsed > _LONGEST:
        raise BadUsage(f"{name}: expected a time such as 90m, 24h or 7d, at most 366d, got {text!r}")
    return parsed


def check_number(name: str, value: float) -> None:
    """Refuse a negative number, or NaN, which no comparison with a number catches, as a value of the option `name`."""
    if not value >= 0:
        raise BadUsage(f"{name}: expected a number of at least 0, got {value:g}")


def known_names(name: str, given: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """The `separated` names that the option `name` gives. Refuses a name that is not known."""
    names = separated(given)
    if unknown := set(names).difference(known):
        raise BadUsage(f"{name}: expected one of {', '.join(known)}, got {min(unknown)!r}")
    return names


def separated(given: Iterable[str]) -> tuple[str, ...]:
    """Names from repeated options, each of which may have several, separated by commas."""
    return tuple(name for text in given for name in text.split(","))
