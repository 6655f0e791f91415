"""What Postgres did for a command: `pg_stat_statements`, by the worker's query files."""

import re

import asyncpg
from rich.table import Table

from tests.benchmark.figures import console
from tests.workbench import REPOSITORY

_QUERY = """
SELECT query, sum(calls)::bigint AS calls, sum(total_exec_time) AS milliseconds, sum(rows)::bigint AS rows,
       sum(shared_blks_dirtied)::bigint AS dirtied, sum(wal_bytes)::bigint AS wal_bytes
  FROM pg_stat_statements
 WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
 GROUP BY query ORDER BY milliseconds DESC LIMIT 14
"""
_COMMENTS_AND_SPACE = re.compile(r"(?:\s+|--[^\n]*\n)+")
_CONSTANTS = re.compile(r"'[^']*'|\$\d+|\b\d+\b")


async def reset_statements(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Begin to count."""
    await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    await connection.execute("SELECT pg_stat_statements_reset()")


async def print_statements(connection: "asyncpg.Connection[asyncpg.Record]", commands: int) -> None:
    """A table of the costliest statements since the reset, a command."""
    table = Table(title=f"Postgres, for each of {commands:,} commands")
    for heading in ("statement", "calls", "µs", "rows", "blocks dirtied", "WAL bytes"):
        table.add_column(heading, justify="left" if heading == "statement" else "right")
    names = _names()
    for row in await connection.fetch(_QUERY):
        squeezed = _squeezed(row["query"])
        name = names.get(squeezed[:60], squeezed[:48])
        costs = [f"{row['milliseconds'] * 1000 / commands:.1f}"]
        costs += [f"{row[column] / commands:.2f}" for column in ("rows", "dirtied", "wal_bytes")]
        table.add_row(name, str(row["calls"]), *costs)
    console.print(table)


def _names() -> dict[str, str]:
    """The squeezed beginnings of the worker's queries, and the names of their files."""
    files = (REPOSITORY / "worker" / "store" / "sql").glob("*.sql")
    return {_squeezed(path.read_text())[:60]: path.stem for path in files}


def _squeezed(query: str) -> str:
    """Without comments; white space is one blank, and constants, which the statistics replace now and then, are `?`."""
    return _CONSTANTS.sub("?", _COMMENTS_AND_SPACE.sub(" ", query)).strip()
