"""Days come before they are needed and go when they are old, and no lane believes in rows that are gone."""

import asyncio
from datetime import UTC, date, datetime, time, timedelta

import asyncpg
import pytest

from tests.contract.world import until_waiting
from tests.workbench import make_past_day
from worker.store import partitions, sql
from worker.store.partitions import drop_old_days, ensure_days, ledger_end, overdue_day
from worker.store.sql import Connection

RETENTION_DAYS = 7
PARENTS = ("dead_letter", "idempotency_key", "ledger")


async def _today(connection: Connection) -> date:
    today = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    assert isinstance(today, date)
    return today


def _names(day: date) -> list[str]:
    return [f"{parent}_{day:%Y%m%d}" for parent in PARENTS]


async def _partitions(connection: Connection) -> set[str]:
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits i JOIN pg_class c "
        "ON c.oid = i.inhrelid WHERE c.relkind = 'r'"
    )
    return {row["name"] for row in rows}


async def _make_day(connection: Connection, day: date) -> None:
    for parent in PARENTS:
        await make_past_day(connection, parent, day)


async def _lane(connection: Connection, partition: int, applied: int, ledger_from: int = 0) -> int:
    lane_id = await connection.fetchval(
        "INSERT INTO lane (group_id, topic, partition, applied, emitted, ledger_from) "
        "VALUES ('g', 't', $1, $2, $2, $3) RETURNING id",
        partition,
        applied,
        ledger_from,
    )
    assert isinstance(lane_id, int)
    return lane_id


async def _ledger_row(connection: Connection, lane_id: int, offset: int, day: date) -> None:
    await connection.execute(
        'INSERT INTO ledger (lane_id, "offset", recorded_on, appended_at, kind, replayed, key, value) '
        "VALUES ($1, $2, $3, now(), 4, false, 'k', '{}')",
        lane_id,
        offset,
        day,
    )


async def _ledger_from(connection: Connection) -> list[int]:
    rows = await connection.fetch("SELECT ledger_from FROM lane ORDER BY id")
    return [row["ledger_from"] for row in rows]


async def test_days_from_yesterday_to_the_day_after_tomorrow_are_there(connection: Connection) -> None:
    """By default a worker that is down for two days finds its partitions when it comes back."""
    today = await _today(connection)
    expected = {name for ahead in (-1, 0, 1, 2) for name in _names(today + timedelta(days=ahead))}
    assert await _partitions(connection) == expected
    await ensure_days(connection, 4)
    assert await _partitions(connection) == expected | {*_names(today + timedelta(3)), *_names(today + timedelta(4))}


async def test_a_day_holds_the_rows_of_its_day(connection: Connection) -> None:
    """A partition has the constraints and defaults of its parent, and rows of now find it."""
    lane_id = await _lane(connection, 0, 10)
    insert = (
        'INSERT INTO ledger (lane_id, "offset", appended_at, kind, replayed, key, value) '
        "VALUES ($1, 5, now(), $2, false, 'k', '{}') RETURNING tableoid::regclass::text"
    )
    assert await connection.fetchval(insert, lane_id, 1) == f"ledger_{await _today(connection):%Y%m%d}"
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.fetchval(insert, lane_id, 1)
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.fetchval(insert, lane_id, 5)


async def test_many_may_make_days_at_once(database_url: str, connection: Connection) -> None:
    """Eight workers that see midnight coming do not get in each other's way."""
    connections = await asyncio.gather(*(asyncpg.connect(database_url) for _ in range(8)))
    await asyncio.gather(*(ensure_days(one, 5) for one in connections))
    assert len(await _partitions(connection)) == len(PARENTS) * (5 + 2)
    await asyncio.gather(*(one.close() for one in connections))


async def test_making_days_does_not_wait_for_batches(database_url: str, connection: Connection) -> None:
    """A batch in flight that has written to the ledger neither stops the new partitions nor is stopped by them."""
    lane_id = await _lane(connection, 0, 10)
    other = await asyncpg.connect(database_url, server_settings={"lock_timeout": "2s"})
    async with connection.transaction():
        await _ledger_row(connection, lane_id, 1, await _today(connection))
        await ensure_days(other, 3)
        await _ledger_row(connection, lane_id, 2, await _today(connection))
    await other.close()


async def test_old_days_go_and_the_ledgers_start_behind_them(connection: Connection) -> None:
    """A lane's `ledger_from` rises above its newest dropped row, and only that of lanes with rows in the day."""
    today = await _today(connection)
    oldest, kept = today - timedelta(days=RETENTION_DAYS + 1), today - timedelta(days=RETENTION_DAYS)
    await _make_day(connection, oldest)
    await _make_day(connection, kept)
    first, second = await _lane(connection, 0, 100), await _lane(connection, 1, 100)
    await _lane(connection, 2, 100, ledger_from=7)
    for lane_id, offset, day in [(first, 3, oldest), (first, 5, oldest), (first, 9, kept), (second, 8, kept)]:
        await _ledger_row(connection, lane_id, offset, day)
    assert await drop_old_days(connection, RETENTION_DAYS) == _names(oldest)
    assert await _ledger_from(connection) == [6, 0, 7]
    assert set(_names(oldest)).isdisjoint(await _partitions(connection))
    assert set(_names(kept)) <= await _partitions(connection)
    assert await drop_old_days(connection, RETENTION_DAYS) == []


async def test_ledger_from_is_never_lowered(connection: Connection) -> None:
    """Where the ledger is known to start later than the dropped rows, it still does."""
    oldest = await _today(connection) - timedelta(days=30)
    await _make_day(connection, oldest)
    await _ledger_row(connection, await _lane(connection, 0, 100, ledger_from=50), 3, oldest)
    await drop_old_days(connection, RETENTION_DAYS)
    assert await _ledger_from(connection) == [50]


async def test_a_database_whose_clock_jumps_ahead_drops_nothing(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day is old by both clocks; counts of writes, too. Seen to fail while Postgres's clock alone decided."""
    today, load = await _today(connection), sql.load
    old, recent = today - timedelta(days=RETENTION_DAYS + 1), today - timedelta(days=3)
    for day in (old, recent):
        await _make_day(connection, day)
    lane = await _lane(connection, 0, applied=6)
    await connection.execute("UPDATE lane SET emitted = 5 WHERE id = $1", lane)
    await _ledger_row(connection, lane, 5, old)
    await connection.execute("INSERT INTO daily_writes VALUES (1, $1, 1, $1)", recent)
    monkeypatch.setattr(sql, "load", lambda name: load(name).replace("now()", "(now() + interval '30 days')"))
    assert await drop_old_days(connection, RETENTION_DAYS) == []
    assert set(_names(recent)) <= await _partitions(connection)
    assert await connection.fetchval("SELECT count(*) FROM daily_writes") == 1


async def test_several_old_days_go_oldest_first(connection: Connection) -> None:
    """After a long pause everything that is due goes in one call."""
    today = await _today(connection)
    due = [today - timedelta(days=age) for age in (400, 31, 9)]
    for day in due:
        await _make_day(connection, day)
    assert await drop_old_days(connection, RETENTION_DAYS) == [name for day in due for name in _names(day)]


async def test_a_batch_in_flight_is_waited_for_only_briefly(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody holds a lane for long, the day stays whole, and goes next time."""
    oldest = await _today(connection) - timedelta(days=30)
    await _make_day(connection, oldest)
    lane_id = await _lane(connection, 0, 100)
    await _ledger_row(connection, lane_id, 3, oldest)
    load = sql.load
    monkeypatch.setattr(sql, "load", lambda name: load(name).replace("'3s'", "'50ms'"))
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.fetch("SELECT FROM lane WHERE id = $1 FOR UPDATE", lane_id)
        assert await drop_old_days(connection, RETENTION_DAYS) == []
    assert await _ledger_from(connection) == [0]
    async with other.transaction():
        await other.fetch("SELECT FROM ledger")
        assert await drop_old_days(connection, RETENTION_DAYS) == []
        assert await overdue_day(connection, RETENTION_DAYS) == oldest
    assert await _ledger_from(connection) == [0]
    assert await connection.fetchval("SHOW lock_timeout") == "0"
    assert await drop_old_days(connection, RETENTION_DAYS) == _names(oldest)
    assert await overdue_day(connection, RETENTION_DAYS) is None
    await other.close()


async def test_answers_of_a_batch_in_flight_keep_their_day(database_url: str, connection: Connection) -> None:
    """A machine wakes up after days in the middle of a batch, whose answers are not in Kafka yet."""
    oldest = await _today(connection) - timedelta(days=RETENTION_DAYS + 1)
    await _make_day(connection, oldest)
    lane_id = await _lane(connection, 0, applied=3)
    batch = await asyncpg.connect(database_url)
    async with batch.transaction():
        await batch.fetch("SELECT FROM lane WHERE id = $1 FOR UPDATE", lane_id)
        dropping = asyncio.create_task(drop_old_days(connection, RETENTION_DAYS))
        await until_waiting(batch)
        await _ledger_row(batch, lane_id, 3, oldest)
        await batch.execute("UPDATE lane SET applied = 4")
    assert await dropping == []
    assert await connection.fetchval("SELECT count(*) FROM ledger") == 1
    await batch.close()


async def test_many_may_drop_days_at_once(database_url: str, connection: Connection) -> None:
    """Each partition is dropped by one of them, and nobody fails."""
    today = await _today(connection)
    due = [today - timedelta(days=age) for age in range(20, 10, -1)]
    for day in due:
        await _make_day(connection, day)
    connections = await asyncio.gather(*(asyncpg.connect(database_url) for _ in range(4)))
    dropped = await asyncio.gather(*(drop_old_days(one, RETENTION_DAYS) for one in connections))
    rest = await drop_old_days(connection, RETENTION_DAYS)
    names = [name for some in (*dropped, rest) for name in some]
    assert sorted(names) == sorted(name for day in due for name in _names(day))
    await asyncio.gather(*(one.close() for one in connections))


async def test_old_counts_go_in_chunks(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are kept for the retention, by the day they were written: a back-fill brings records of 2020."""
    monkeypatch.setattr(partitions, "_CHUNK_ROWS", 3)
    await connection.execute(
        "INSERT INTO daily_writes SELECT 1, date '2020-01-01' + age, 1, (now() AT TIME ZONE 'UTC')::date - age "
        "FROM generate_series(0, 20) AS age"
    )
    await drop_old_days(connection, RETENTION_DAYS)
    assert await connection.fetchval("SELECT count(*) FROM daily_writes") == RETENTION_DAYS + 1


async def test_a_retention_of_less_than_two_days_is_refused(connection: Connection) -> None:
    """Keys bind for 24 hours, and batches that began before midnight write to yesterday."""
    with pytest.raises(ValueError, match="at least 2 days"):
        await drop_old_days(connection, 1)
    assert await drop_old_days(connection, 2) == []


async def test_answers_that_are_not_out_yet_outlast_the_retention_but_not_twice(connection: Connection) -> None:
    """While Kafka is away for longer than the retention, what it has not seen must not be dropped."""
    today = await _today(connection)
    lane = await _lane(connection, 0, applied=6)
    await connection.execute("UPDATE lane SET emitted = 5 WHERE id = $1", lane)
    kept, dropped = today - timedelta(days=RETENTION_DAYS + 1), today - timedelta(days=2 * RETENTION_DAYS + 1)
    for offset, day in ((5, kept), (4, dropped)):
        await _make_day(connection, day)
        await _ledger_row(connection, lane, offset, day)
    assert await drop_old_days(connection, RETENTION_DAYS) == _names(dropped)
    await connection.execute("UPDATE lane SET emitted = 6 WHERE id = $1", lane)
    assert await drop_old_days(connection, RETENTION_DAYS) == _names(kept)


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()


async def test_the_ledger_ends_where_its_first_day_is_missing(connection: Connection) -> None:
    """Behind the last day that was made, and at a gap as soon as there is one."""
    today = await _today(connection)
    await ensure_days(connection)
    assert await ledger_end(connection) == _midnight(today + timedelta(days=3))
    for parent, ahead in (("idempotency_key", 2), ("dead_letter", 1), ("ledger", 0)):
        await connection.execute(f"DROP TABLE {parent}_{today + timedelta(days=ahead):%Y%m%d}")
        assert await ledger_end(connection) == _midnight(today + timedelta(days=ahead))


async def test_the_end_of_the_ledger_does_not_hang_on_the_time_zone_of_the_session(connection: Connection) -> None:
    """Days are UTC days."""
    await ensure_days(connection)
    expected = await ledger_end(connection)
    await connection.execute("SET TIME ZONE 'Pacific/Auckland'")
    assert await ledger_end(connection) == expected


async def test_an_end_beyond_a_month_is_not_looked_for(connection: Connection) -> None:
    """It is far enough."""
    today = await _today(connection)
    await ensure_days(connection, 31)
    assert await ledger_end(connection) == _midnight(today + timedelta(days=31))
