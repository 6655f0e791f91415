"""Each migration says who can run on its schema, what it locks and how long it takes."""

import pytest

from worker.store.schema import Migration, known_migrations
from worker.tools.common.migration_header import BadHeader, Header, header_of, index_of

LINES = ("-- readable from: 0003, since", "-- locks: SHARE on passport, ACCESS EXCLUSIVE on lane", "-- takes: 4.1 s")


def _header(*lines: str) -> Header:
    return header_of(Migration(4, "0004_next.sql", "\n".join((*lines, "SELECT 1"))))


@pytest.mark.parametrize("migration", known_migrations(), ids=lambda migration: migration.name)
def test_every_migration_has_a_header(migration: Migration) -> None:
    """One outside of a transaction makes an index, or is safe to repeat in other ways."""
    header = header_of(migration)
    assert header.in_transaction or index_of(migration) is not None


def test_a_header_is_read() -> None:
    """Line by line, in any order."""
    locks = ("SHARE on passport", "ACCESS EXCLUSIVE on lane")
    assert _header(*LINES) == Header(3, locks, 4.1, None, in_transaction=True)
    others = ("-- transaction: none", "-- takes: 0.2 s per million rows of passport", "-- locks: nothing", LINES[0])
    assert _header(*others) == Header(3, (), 0.2, "passport", in_transaction=False)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("-- readable from: 3", "expected a line `-- readable from: 0003`, got '3'"),
        ("-- readable from: 0005", "expected `readable from` between 0001 and itself, got 0005"),
        ("-- locks: lane", "expected a line `-- locks: ACCESS EXCLUSIVE on company` or `nothing`, got 'lane'"),
        ("-- takes: long", "expected a line `-- takes: 4.1 s per million rows of passport` or `0.0 s`, got 'long'"),
        ("-- transaction: no", "expected a line `-- transaction: none`, got 'no'"),
    ],
)
def test_a_bad_line_is_named(line: str, text: str) -> None:
    """With the migration, and what was expected."""
    with pytest.raises(BadHeader) as caught:
        _header(*LINES, line)
    assert str(caught.value) == f"0004_next.sql: {text}"


def test_a_missing_line_is_named() -> None:
    """As a bad one."""
    with pytest.raises(BadHeader, match="expected a line `-- readable from: 0003`, got None"):
        _header(*LINES[1:])


def test_the_index_that_is_made_beside_workers_is_found() -> None:
    """Its invalid remains are dropped by name, so the statement has to say it, and to be safe to repeat."""
    make = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS passport_day_idx ON passport (day)"
    assert index_of(Migration(4, "0004_next.sql", f"-- transaction: none\n{make}")) == "passport_day_idx"
    assert index_of(Migration(4, "0004_next.sql", make.replace("IF NOT EXISTS ", ""))) is None
