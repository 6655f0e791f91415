"""Creates the daily partitions of keys, ledger and dead letters ahead of time, and drops old ones."""

from datetime import UTC, date, datetime

import asyncpg

from worker.store import sql
from worker.store.sql import Connection

_CHUNK_ROWS = 5_000
_ACTIVITY_DAYS = 1
# Idempotency keys bind for 24 hours of the records' time, which can lag behind the database's clock.
_SHORTEST_RETENTION_DAYS = 2


async def ensure_days(connection: Connection, days_ahead: int = 2) -> None:
    """Make the missing partitions from yesterday to `days_ahead` days from now, in UTC by the database's clock.

    Safe at any time, and for many processes at once.
    """
    if not await connection.fetch(sql.load("missing_days"), days_ahead):
        return
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(sql.load("lock_days"))
        # Another process may have made them while this one waited for the lock.
        for row in await connection.fetch(sql.load("missing_days"), days_ahead):
            await connection.execute(sql.load("create_day"), row["parent"], row["day"])


async def ledger_end(connection: Connection) -> float:
    """The beginning of the first day without a partition of keys, ledger or dead letters, in Unix seconds."""
    ends: float = await connection.fetchval(sql.load("ledger_end"))
    return ends


async def old_days(connection: Connection, retention_days: int) -> list[date]:
    """The days with partitions that ended more than `retention_days` days ago, oldest first. Read only.

    A day has to be old by our clock and by the database's, so that one clock that jumps ahead drops nothing.
    """
    return [row["day"] for row in await connection.fetch(sql.load("old_days"), retention_days, _our_day())]


async def drop_old_days(connection: Connection, retention_days: int) -> list[str]:
    """Drop the `old_days` and delete old counts. Returns the names of the dropped partitions.

    The `ledger_from` of each lane rises above the rows that are dropped. If another process drops days, or holds a lock
    for more than seconds, the rest stays until next time. Raises `ValueError` for a retention of less than two days.
    Must not run within a transaction.
    """
    if retention_days < _SHORTEST_RETENTION_DAYS:
        raise ValueError(f"Expected a retention of at least {_SHORTEST_RETENTION_DAYS} days, got {retention_days}")
    dropped: list[str] = []
    # Oldest first, and none after a day that stays: a ledger starts at one offset and has no gaps.
    for day in await old_days(connection, retention_days):
        names = await _drop_day(connection, day, retention_days)
        if not names:
            break
        dropped += names
    await _delete_in_chunks(connection, "delete_daily_writes", retention_days, _our_day())
    await _delete_in_chunks(connection, "delete_company_days", retention_days, _our_day())
    await _delete_in_chunks(connection, "delete_activity", _ACTIVITY_DAYS)
    return dropped


async def overdue_day(connection: Connection, retention_days: int) -> date | None:
    """The oldest day that should have been dropped a day ago, if any: somebody's lock keeps it. Read only."""
    oldest = next(iter(await old_days(connection, retention_days + 1)), None)
    return None if oldest is None or await _is_needed(connection, oldest, retention_days) else oldest


async def _is_needed(connection: Connection, day: date, retention_days: int) -> bool:
    return bool(await connection.fetchval(sql.load("day_is_needed"), day, retention_days, _our_day()))


async def _drop_day(connection: Connection, day: date, retention_days: int) -> list[str]:
    """Drop a day in one transaction. Drops nothing if a lock takes too long, or if answers are not emitted yet."""
    try:
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(sql.load("patience_for_days"))
            if not await connection.fetchval(sql.load("try_lock_days")):
                return []
            # A machine that slept for days may be in a turn that writes to this day. This waits for its lane.
            await connection.execute(sql.load("lock_all_lanes"))
            # Under the locks, so that no lane moves between this check and the drop.
            if await _is_needed(connection, day, retention_days):
                return []
            return [row["name"] for row in await connection.fetch(sql.load("drop_day"), day)]
    except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.DeadlockDetectedError):
        return []


async def _delete_in_chunks(connection: Connection, query: str, days: int, *arguments: date) -> None:
    # Each chunk is a transaction of its own, so that no lock lasts long.
    tag = f"DELETE {_CHUNK_ROWS}"
    while tag == f"DELETE {_CHUNK_ROWS}":
        tag = await connection.execute(sql.load(query), days, _CHUNK_ROWS, *arguments)


def _our_day() -> date:
    return datetime.now(UTC).date()
