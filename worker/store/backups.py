"""Backups of the database, as `backup-taken` notes them in the journal of operations."""

from worker.store import sql
from worker.store.sql import Connection

BACKUP_TAKEN = "backup-taken"


async def newest_backup(connection: Connection) -> float | None:
    """When the newest backup was taken, in Unix seconds; None if none was noted. Read only."""
    taken: float | None = await connection.fetchval(sql.load("newest_backup"))
    return taken
