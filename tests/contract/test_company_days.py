"""What workers write of companies and days, and whom they find refused in the last hour."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from math import isnan

import pytest_asyncio
from structlog.testing import capture_logs

from worker.observability.metrics import Metrics
from worker.refusal_watch import RefusalWatch
from worker.store import sql
from worker.store.activity import (
    CompanyDay,
    MinuteCounts,
    RefusedCompany,
    refused_companies,
    write_activity,
    write_company_days,
)
from worker.store.database import Database
from worker.store.partitions import drop_old_days
from worker.store.postgres import PostgresStore
from worker.store.sql import Connection

NOW = datetime.now(UTC)
MINUTE = NOW.replace(second=0, microsecond=0)
TODAY = NOW.date()


@pytest_asyncio.fixture
async def store(connection: Connection, database_url: str) -> AsyncIterator[PostgresStore]:
    """The store of a worker."""
    store = PostgresStore(Database(database_url), 2)
    yield store
    await store.close()


async def _write(connection: Connection, member: str, outcomes: dict[str, int], **refused: int) -> None:
    pairs: dict[tuple[str | None, str], int] = {(company, "invalid"): count for company, count in refused.items()}
    await write_activity(connection, "g", member, [MinuteCounts(MINUTE, outcomes, pairs)])


async def test_a_worker_overwrites_its_counts_and_never_lowers_them(connection: Connection) -> None:
    """Safe to repeat; other workers have rows of their own."""
    for member, answered, refused, accepted in (
        ("a", 2, 1, NOW),
        ("b", 7, 7, None),
        ("a", 5, 3, None),
        ("a", 4, 1, None),
    ):
        await write_company_days(connection, "g", member, [CompanyDay(TODAY, "c", answered, refused, accepted)])
    await write_company_days(connection, "g", "a", [])
    rows = await connection.fetch("SELECT member, answered, refused, accepted_at FROM company_day ORDER BY member")
    assert [tuple(row) for row in rows] == [("a", 5, 3, NOW), ("b", 7, 7, None)]


async def test_housekeeping_deletes_days_past_the_retention(connection: Connection) -> None:
    """Those within it stay."""
    days = [CompanyDay(TODAY - timedelta(days=age), "c", 1, 0, None) for age in (0, 7, 8, 60)]
    await write_company_days(connection, "g", "a", days)
    await drop_old_days(connection, 7)
    rows = await connection.fetch("SELECT day FROM company_day ORDER BY day DESC")
    assert [TODAY - day for (day,) in rows] == [timedelta(), timedelta(days=7)]


async def test_who_is_refused_entirely_is_told_from_who_is_not(connection: Connection) -> None:
    """By all workers of the group: what another one accepted counts, unless it is an hour ago or another group's."""
    await _write(connection, "a", {"created": 60, "invalid": 40}, flood=30, small=4, late=3, other=3)
    await _write(connection, "b", {"created": 50, "invalid": 10}, flood=10)
    await write_activity(
        connection, "g", "a", [MinuteCounts(MINUTE - timedelta(minutes=61), {"x": 9}, {("old", "x"): 9})]
    )
    hour_ago = NOW - timedelta(minutes=61)
    await write_company_days(connection, "g", "b", [CompanyDay(TODAY, "flood", 60, 10, NOW)])
    await write_company_days(connection, "g", "b", [CompanyDay(hour_ago.date(), "late", 60, 10, hour_ago)])
    await write_company_days(connection, "g", "a", [CompanyDay(TODAY, "small", 4, 4, None)])
    await write_company_days(connection, "another", "b", [CompanyDay(TODAY, "other", 1, 0, NOW)])
    assert await refused_companies(connection, "g") == [
        RefusedCompany("flood", 40, 160, False),
        RefusedCompany("small", 4, 160, True),
        RefusedCompany("late", 3, 160, True),
        RefusedCompany("other", 3, 160, True),
    ]
    assert await refused_companies(connection, "nobody") == []


async def test_a_worker_shows_floods_and_companies_that_are_refused_entirely(
    connection: Connection, store: PostgresStore
) -> None:
    """In numbers without names, since a company is no label; the log names them, once."""
    metrics = Metrics()
    watch = RefusalWatch(store, "g", metrics)

    def shown() -> tuple[float | None, float | None]:
        value = metrics.registry.get_sample_value
        return value("passport_refusals_largest_company_share"), value("passport_companies_refused_entirely")

    assert all(value is not None and isnan(value) for value in shown())
    with capture_logs() as lines:
        await watch.look()
        assert shown() == (0, 0)
        await _write(connection, "a", {"created": 13, "invalid": 6}, small=4, once=2)
        await watch.look()
        assert shown() == (0, 1)  # nineteen commands have no share
        await _write(connection, "a", {"created": 40, "invalid": 60}, flood=54, small=4, once=2)
        await write_company_days(connection, "g", "b", [CompanyDay(TODAY, "flood", 60, 54, NOW)])
        await watch.look()
        await watch.look()
        assert shown() == (0.54, 1)
    assert [(line["over_half_of_the_hour"], line["entirely"]) for line in lines] == [
        (None, ["small"]),
        ("flood", ["small"]),
    ]


async def test_the_last_hour_is_read_by_index(connection: Connection) -> None:
    """A day of many workers and companies is not scanned for it."""
    await connection.execute(
        "INSERT INTO activity SELECT date_trunc('minute', now()) - n * interval '1 minute', 'g', m::text, "
        """'{"outcomes": {"created": 1}, "refusals": [["7", "invalid", 1]]}' """
        "FROM generate_series(0, 1440) n, generate_series(1, 20) m"
    )
    await connection.execute(
        "INSERT INTO company_day SELECT $1::date - d, c::text, 'g', m::text, 9, 1, now() "
        "FROM generate_series(0, 6) d, generate_series(1, 1000) c, generate_series(1, 4) m",
        TODAY,
    )
    await connection.execute("ANALYZE activity, company_day")
    await connection.execute(f"PREPARE hour AS {sql.load('refused_companies')}")
    plan = "\n".join(row[0] for row in await connection.fetch("EXPLAIN EXECUTE hour ('g', 200)"))
    assert "activity_pkey" in plan
    assert "company_day_pkey" in plan
    assert "Seq Scan" not in plan, plan
