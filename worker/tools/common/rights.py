"""What a database role needs for an operators' verb, asked before the verb begins."""

from collections.abc import Iterable

from worker.messages.hints import Finding
from worker.store.grants import Right, lacking_of
from worker.store.sql import Connection

SEE_TABLES = (Right("USAGE", None, "SCHEMA", "{schema}"), Right("SELECT", None, "TABLE", "schema_migration"))
"""What every verb needs."""

KEEP_OPERATIONS = tuple(Right(privilege, None, "TABLE", "operation") for privilege in ("SELECT", "INSERT", "UPDATE"))
"""What a verb needs that is written down in `operation`."""

KEEP_REDRIVES = (
    Right("SELECT", None, "TABLE", "redrive"),
    Right("INSERT", None, "TABLE", "redrive"),
    Right("UPDATE", "new_offset, operation_id", "TABLE", "redrive"),
)
"""What a verb needs that publishes commands again."""


def reading(*tables: str) -> tuple[Right, ...]:
    """SELECT on whole tables."""
    return tuple(Right("SELECT", None, "TABLE", table) for table in tables)


async def check_verb_rights(connection: Connection, rights: Iterable[Right]) -> Finding | None:
    """None when the connection's role has all of them; else what it lacks, and what to do. Read only."""
    advice = "name the owner of the tables, or a role with these rights, in PASSPORT_DATABASE_URL."
    return (await lacking_of(connection, (*SEE_TABLES, *rights))).finding(advice)
