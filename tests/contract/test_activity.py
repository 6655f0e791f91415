"""What workers write down minute by minute, and what the console reads of it: overwritten, summed, deleted."""

from datetime import UTC, datetime, timedelta

from worker.store import sql
from worker.store.activity import MOST_PAIRS, MinuteCounts, write_activity
from worker.store.partitions import drop_old_days
from worker.store.sql import Connection
from worker.tools.console.activity import activity_of


async def test_a_minute_is_overwritten_by_its_worker_and_summed_over_workers(connection: Connection) -> None:
    """Other groups' are left out."""
    minute = (await activity_of(connection, "g")).minutes[-1].minute
    for member, count in (("a", 1), ("a", 5), ("b", 7)):
        counts = MinuteCounts(minute, {"created": count, "invalid": 2}, {("c1", "invalid"): 1, (None, "invalid"): 1})
        await write_activity(connection, "g", member, [counts])
    await write_activity(connection, "other", "a", [MinuteCounts(minute, {"created": 100}, {})])
    report = await activity_of(connection, "g")
    assert [(one.minute, one.created, one.rejected) for one in report.minutes if one.created] == [(minute, 12, 4)]
    refused = [(one.company, one.name, one.code, one.count) for one in report.refusals]
    assert refused == [("c1", None, "invalid", 2), (None, None, "invalid", 2)]


async def test_only_the_last_minutes_and_the_most_refused_are_read(connection: Connection) -> None:
    """An hour ago is not this hour."""
    minute = (await activity_of(connection, "g")).minutes[-1].minute
    old = minute - timedelta(minutes=60)
    many: dict[tuple[str | None, str], int] = {(f"c{n:04d}", "invalid"): n + 1 for n in range(MOST_PAIRS + 50)}
    minutes = [MinuteCounts(old, {"created": 9}, {("x", "invalid"): 10_000}), MinuteCounts(minute, {}, many)]
    await write_activity(connection, "g", "a", minutes)
    report = await activity_of(connection, "g")
    assert not any(one.created for one in report.minutes)
    assert [one.count for one in report.refusals] == list(range(MOST_PAIRS + 50, 50, -1))


async def test_housekeeping_deletes_minutes_of_the_day_before(connection: Connection) -> None:
    """In pieces, however many there are; what is younger stays."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    ages = [timedelta(hours=1), timedelta(hours=23), timedelta(hours=25), timedelta(days=9)]
    await write_activity(connection, "g", "a", [MinuteCounts(now - age, {"created": 1}, {}) for age in ages])
    await drop_old_days(connection, 7)
    left = await connection.fetch("SELECT minute FROM activity ORDER BY minute DESC")
    assert [now - row["minute"] for row in left] == ages[:2]


async def test_an_hour_is_read_by_index(connection: Connection) -> None:
    """A day of many workers is not scanned for it."""
    await connection.execute(
        "INSERT INTO activity SELECT date_trunc('minute', now()) - n * interval '1 minute', 'g', m::text, "
        """'{"outcomes": {"created": 1}, "refusals": [["c", "invalid", 1]]}' """
        "FROM generate_series(0, 1440) n, generate_series(1, 20) m"
    )
    await connection.execute("ANALYZE activity")
    for query, arguments in (("activity_outcomes", "'g', 60"), ("activity_refusals", "'g', 60, 200")):
        await connection.execute(f"PREPARE one AS {sql.load(query, 'worker.tools.console')}")
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE one ({arguments})"))
        await connection.execute("DEALLOCATE one")
        assert "activity_pkey" in plan, plan
        assert "Seq Scan on activity" not in plan, plan
