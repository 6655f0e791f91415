"""Daily partitions of keys, ledger and dead letters: made ahead of time, and dropped whole when they are old."""

from datetime import UTC, date, datetime

import asyncpg

from worker.store import sql
from worker.store.sql import Connection

_CHUNK_ROWS = 5_000
_ACTIVITY_DAYS = 1
_SHORTEST_RETENTION_DAYS = 2
"""Idempotency keys bind for 24 hours of the records' time, which may lag behind the database's clock."""


async def ensure_days(connection: Connection, days_ahead: int = 2) -> None:
    """Make the partitions from yesterday to `days_ahead` days from now, in UTC by the database's clock.

    Safe to run at any time and by many at once; one look-up where nothing is missing.
    """
    if not await connection.fetch(sql.load("missing_days"), days_ahead):
        return
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(sql.load("lock_days"))
        for row in await connection.fetch(sql.load("missing_days"), days_ahead):
            await connection.execute(sql.load("create_day"), row["parent"], row["day"])


async def ledger_end(connection: Connection) -> float:
    """When the first day begins for which keys, the ledger or dead letters have no partition, in Unix seconds."""
    ends: float = await connection.fetchval(sql.load("ledger_end"))
    return ends


async def old_days(connection: Connection, retention_days: int) -> list[date]:
    """Days that ended more than `retention_days` days ago and are still there, oldest first. Read only.

    A day is old when it is old by our clock and by the database's. So one clock that jumps ahead drops nothing.
    """
    return [row["day"] for row in await connection.fetch(sql.load("old_days"), retention_days, _our_day())]


async def drop_old_days(connection: Connection, retention_days: int) -> list[str]:
    """Forget what ended more than `retention_days` days ago; days that were dropped, as names of their partitions.

    By both clocks, as `old_days` has it. Raises every lane's `ledger_from` above what is dropped with it. Where
    somebody else holds what has to be locked for more than seconds, or drops days too, the rest stays until next time.
    Raises `ValueError` for a retention of less than two days. Not for use within a transaction.
    """
    if retention_days < _SHORTEST_RETENTION_DAYS:
        raise ValueError(f"Expected a retention of at least {_SHORTEST_RETENTION_DAYS} days, got {retention_days}")
    dropped: list[str] = []
    for day in await old_days(connection, retention_days):
        names = await _drop_day(connection, day, retention_days)
        if not names:
            break
        dropped += names
    await _delete_in_chunks(connection, "delete_daily_writes", retention_days, _our_day())
    await _delete_in_chunks(connection, "delete_activity", _ACTIVITY_DAYS)
    return dropped


async def _drop_day(connection: Connection, day: date, retention_days: int) -> list[str]:
    """One day in one transaction; nothing is dropped where a lock cannot be had soon, or answers are not out yet."""
    try:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(sql.load("patience_for_days"))
            if not await connection.fetchval(sql.load("try_lock_days")):
                return []
            await connection.execute(sql.load("lock_all_lanes"))
            if await connection.fetchval(sql.load("day_is_needed"), day, retention_days, _our_day()):
                return []
            return [row["name"] for row in await connection.fetch(sql.load("drop_day"), day)]
    except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.DeadlockDetectedError):
        return []


async def _delete_in_chunks(connection: Connection, query: str, days: int, *arguments: date) -> None:
    """A statement a chunk, each its own transaction: no long lock, and what is done stays done."""
    tag = f"DELETE {_CHUNK_ROWS}"
    while tag == f"DELETE {_CHUNK_ROWS}":
        tag = await connection.execute(sql.load(query), days, _CHUNK_ROWS, *arguments)


def _our_day() -> date:
    return datetime.now(UTC).date()
