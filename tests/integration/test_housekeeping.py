"""Old days go while the clocks agree, and stay while they do not."""

import asyncio
import time
from datetime import timedelta
from math import inf

import pytest

from tests.integration.guards_helpers import commands, publish, running
from tests.workbench import Workbench, make_past_day, until
from worker import housekeeping
from worker.store import sql
from worker.stream.cluster.connection import Cluster
from worker.stream.log_clock import LogClock

pytestmark = pytest.mark.real_kafka


async def test_old_days_stay_while_clocks_differ(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres is two hours ahead, and is set right. Seen to fail without the look at clocks: the day went at once."""
    connection, load = await bench.connect(), sql.load
    old = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date") - timedelta(days=30)
    await make_past_day(connection, "ledger", old)
    monkeypatch.setattr(housekeeping, "HOUSEKEEPING_SECONDS", 0.1)
    monkeypatch.setattr(sql, "load", lambda name: load(name).replace("clock_timestamp()", "(now() + interval '2h')"))

    async def is_there() -> bool:
        return await connection.fetchval("SELECT to_regclass($1)", f"ledger_{old:%Y%m%d}") is not None

    async with running(bench) as one:
        value = one.worker._metrics.registry.get_sample_value
        await until(lambda: (value("passport_clock_difference_seconds") or 0) > 7000, 10, "clocks differ")
        await asyncio.sleep(1.0)
        assert await is_there()
        monkeypatch.setattr(sql, "load", load)
        await until(lambda: (value("passport_clock_difference_seconds") or 0) < 60, 10, "clocks agree")
        for _ in range(50):
            if not await is_there():
                break
            await asyncio.sleep(0.1)
        assert not await is_there()
    await connection.close()


async def test_a_record_that_has_just_come_tells_the_brokers_clock(bench: Workbench) -> None:
    """One that was there before tells only that the clock is no earlier."""
    cluster = Cluster(bench.settings)
    try:
        clock = LogClock(cluster, bench.settings.topic_commands)
        assert await clock.look() is None
        began = time.monotonic()
        await publish(bench, commands(bench, 0, 3))
        newest = await clock.look()
        assert newest is not None
        assert abs(newest.appended - time.time()) < 60
        assert 0 < newest.oldest_age < time.monotonic() - began + 10
        again = await clock.look()
        assert again is not None
        assert (again.appended, again.oldest_age) == (newest.appended, inf)
    finally:
        await cluster.close()
