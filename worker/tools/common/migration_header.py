"""The first lines of a migration: who can run on its schema, what it locks, and how long it takes.

    -- readable from: 0002, since an older worker would answer on channels that are not the company's
    -- locks: ACCESS EXCLUSIVE on company
    -- takes: 4.1 s per million rows of passport
    -- transaction: none

The text after a comma is a reason. `locks` lists the locks on tables that workers use, and for which they would wait;
`nothing` if there are none. `transaction: none` is for a single statement that Postgres runs in no transaction.
"""

import re
from dataclasses import dataclass

from worker.store.schema import Migration

_LINE = re.compile(r"-- (readable from|locks|takes|transaction): (.+)")
_READABLE = re.compile(r"(\d{4})(?:, .+)?")
_LOCKS = re.compile(r"nothing|[A-Z ]+ on [a-z_]+(?:, [A-Z ]+ on [a-z_]+)*")
_TAKES = re.compile(r"(\d+\.\d+) s(?: per million rows of ([a-z_]+))?")
_NONE = re.compile("none")
_CONCURRENTLY = re.compile(r"^CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS (\w+)\s", re.MULTILINE)


class BadHeader(ValueError):
    """The text says which line of which migration is wrong, and what was expected."""


@dataclass(frozen=True, slots=True)
class Header:
    """`seconds` is the time that the benchmark measured, for a million rows of `table` if there is one."""

    readable_from: int
    locks: tuple[str, ...]
    seconds: float
    table: str | None
    in_transaction: bool


def header_of(migration: Migration) -> Header:
    """The header of a migration. Raises `BadHeader`."""
    lines = {match[1]: match[2] for line in migration.text.splitlines() if (match := _LINE.fullmatch(line))}

    def part(name: str, pattern: re.Pattern[str], expected: str) -> re.Match[str]:
        if (match := pattern.fullmatch(lines.get(name, ""))) is None:
            raise BadHeader(f"{migration.name}: expected a line `-- {name}: {expected}`, got {lines.get(name)!r}")
        return match

    readable_from = int(part("readable from", _READABLE, "0003")[1])
    if not 1 <= readable_from <= migration.version:
        raise BadHeader(f"{migration.name}: expected `readable from` between 0001 and itself, got {readable_from:04}")
    locks = part("locks", _LOCKS, "ACCESS EXCLUSIVE on company` or `nothing")[0]
    seconds, table = part("takes", _TAKES, "4.1 s per million rows of passport` or `0.0 s").groups()
    if "transaction" in lines:
        part("transaction", _NONE, "none")
    named = () if locks == "nothing" else tuple(locks.split(", "))
    return Header(readable_from, named, float(seconds), table, "transaction" not in lines)


def index_of(migration: Migration) -> str | None:
    """The name of the index that the migration builds concurrently; None if it builds none."""
    match = _CONCURRENTLY.search(migration.text)
    return match and match[1]
