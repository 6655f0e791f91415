"""Postgres and Kafka killed, frozen and back: the worker pauses and goes on by itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.infrastructure.kafka import LocalKafka
from tests.infrastructure.postgres import end_sessions
from tests.invariants import check_invariants
from tests.operations.mixture import copy_database
from tests.workbench import Workbench, make_workbench, tenant, until
from worker.tools.demo.embedded import EmbeddedPostgres

pytestmark = pytest.mark.real_kafka

T = TypeVar("T")


@pytest.fixture
async def fragile_postgres(
    servers: Infrastructure, own_postgres: EmbeddedPostgres, kafka_prefix: str
) -> AsyncIterator[Workbench]:
    """A workbench whose PostgreSQL is the test's own."""
    async with fresh_database(own_postgres.url) as url:
        bench = await make_workbench(servers.bootstrap_servers, url, kafka_prefix)
        yield bench
        await asyncio.to_thread(bench.kill_workers)


@pytest.fixture
async def fragile_kafka(own_kafka: LocalKafka, database_url: str, kafka_prefix: str) -> AsyncIterator[Workbench]:
    """A workbench whose Kafka is the test's own."""
    bench = await make_workbench(own_kafka.bootstrap_servers, database_url, kafka_prefix)
    yield bench
    await asyncio.to_thread(bench.kill_workers)


async def test_a_copy_that_takes_the_name_of_the_database_halts_every_lane(
    fragile_postgres: Workbench, tmp_path: Path
) -> None:
    """Beneath a running worker, as a runbook may do it. Nothing is decided on what lacks passports that were published.

    Seen to fail without the oids: 50 of 50 units that came again on another partition got a second passport.
    """
    bench, log = fragile_postgres, tmp_path / "worker.log"
    bench.start_worker(log)
    _publish(bench, 0, 100)
    await bench.wait_for_results(100)
    old = await _again(lambda: copy_database(bench.settings.database_url, "old"))
    lost = [bench.command(tenant(1), 1, f"lost-{number}", partition=0) for number in range(50)]
    bench.publish(lost)
    await bench.wait_for_results(150)
    await _again(lambda: _exchange(bench.settings.database_url, urlsplit(old).path[1:]))
    bench.publish({**command, "partition": 1} for command in lost)
    await until(lambda: log.read_text().count('"lane_halted"') == 2, 30, f"halted lanes\n{bench.log_tail()}")
    assert "Postgres was restored from an older copy" in log.read_text()
    assert len(bench.results()) == 150


async def _exchange(url: str, copy: str) -> None:
    """Let the copy take the database's name, which nobody may be connected to meanwhile."""
    await end_sessions(url)
    name = urlsplit(url).path[1:]
    connection = await asyncpg.connect(urlsplit(url)._replace(path="/postgres").geturl())
    try:
        await connection.execute(f"ALTER DATABASE {name} RENAME TO {name}_whole")
        await connection.execute(f"ALTER DATABASE {copy} RENAME TO {name}")
    finally:
        await connection.close()


async def _again(work: Callable[[], Awaitable[T]]) -> T:
    """A worker connects again at any moment, and the server refuses while it is there."""
    for _ in range(20):
        with suppress(asyncpg.ObjectInUseError):
            return await work()
    raise AssertionError("the worker never left the database alone")


def _publish(bench: Workbench, start: int, stop: int) -> None:
    bench.publish(
        {**bench.command(tenant(n % 3), n % 3, f"u{n}", key=f"k{n}"), "partition": n % 2} for n in range(start, stop)
    )


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_postgres_away(
    fragile_postgres: Workbench, own_postgres: EmbeddedPostgres, tmp_path: Path, how: str
) -> None:
    """Commands that come while the database is away are answered once when it is back; none becomes a dead letter."""
    bench = fragile_postgres
    worker = bench.start_worker(tmp_path / "worker.log")
    _publish(bench, 0, 100)
    await bench.wait_for_results(100)
    own_postgres.kill() if how == "kill" else own_postgres.freeze()
    _publish(bench, 100, 200)
    await asyncio.sleep(6)
    assert worker.poll() is None
    own_postgres.start() if how == "kill" else own_postgres.thaw()
    await bench.wait_for_results(200, 90)
    assert bench.read([bench.dead_letters]) == []
    await check_invariants(bench)


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_kafka_away(fragile_kafka: Workbench, own_kafka: LocalKafka, tmp_path: Path, how: str) -> None:
    """The broker dies or hangs in the middle of a load; the worker rejoins, and every command is answered once."""
    bench = fragile_kafka
    worker = bench.start_worker(tmp_path / "worker.log")
    _publish(bench, 0, 2000)
    await bench.wait_for_results(500)
    own_kafka.kill() if how == "kill" else own_kafka.freeze()
    await asyncio.sleep(6)
    assert worker.poll() is None
    await asyncio.to_thread(own_kafka.start if how == "kill" else own_kafka.thaw)
    _publish(bench, 2000, 2100)
    await bench.wait_for_results(2100, 120)
    await check_invariants(bench)


async def test_stop_while_both_servers_hang(
    own_kafka: LocalKafka, own_postgres: EmbeddedPostgres, kafka_prefix: str, tmp_path: Path
) -> None:
    """SIGTERM is answered within 10 seconds, even when nobody else answers anything."""
    async with fresh_database(own_postgres.url) as url:
        bench = await make_workbench(own_kafka.bootstrap_servers, url, kafka_prefix)
        worker = bench.start_worker(tmp_path / "worker.log")
        _publish(bench, 0, 100)
        await bench.wait_for_results(100)
        own_kafka.freeze()
        own_postgres.freeze()
        try:
            await asyncio.sleep(2)
            assert await asyncio.to_thread(bench.stop_worker, worker) == 0
        finally:
            own_kafka.thaw()
            own_postgres.thaw()
