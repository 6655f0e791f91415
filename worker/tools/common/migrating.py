"""Applies numbered SQL migrations: each once, in its own transaction, by one process at a time."""

from worker.messages.hints import CheckResult
from worker.store import sql
from worker.store.partitions import ensure_days
from worker.store.schema import pending_migrations
from worker.store.sql import Connection
from worker.tools.common.journal import Author, operation


class MigrationError(Exception):
    """This version may not migrate the database. The message says why and what to do."""


async def migrate(connection: Connection, author: Author | None = None) -> list[str]:
    """Bring the database to this version, and make the partitions of the coming days. Returns the applied names.

    Each migration has a row of `operation` in its own transaction, if there is an author.
    Safe to repeat, and for many processes at once: they take turns, and each sees what the others have applied. Raises
    `MigrationError` when the database is newer than this version, or when an applied migration has changed.
    """
    applied = []
    while name := await _apply_next(connection, author):
        applied.append(name)
    await ensure_days(connection)
    return applied


async def _apply_next(connection: Connection, author: Author | None) -> str | None:
    async with connection.transaction(isolation="read_committed"):
        # The lock ends with the transaction, so a lost connection frees it, and a pooler in between does no harm.
        await connection.execute(sql.load("lock_migrations", __package__))
        await connection.execute(sql.load("create_schema_migration", __package__))
        pending = await pending_migrations(connection)
        if isinstance(pending, CheckResult):
            raise MigrationError(str(pending))
        if not pending:
            return None
        migration = pending[0]
        await connection.execute(migration.text)
        await connection.execute(
            sql.load("record_migration", __package__), migration.version, migration.name, migration.checksum
        )
        if author is not None:  # only now is there a table for it
            async with operation(connection, "migrate", author, {"migration": migration.name}):
                pass
        return migration.name
