"""Postgres and Kafka killed, frozen and back: the worker pauses and goes on by itself."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import fresh_database
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.kafka import LocalKafka
from tests.invariants import check_invariants
from tests.workbench import Workbench, make_workbench, tenant
from worker.demo.embedded import EmbeddedPostgres

pytestmark = pytest.mark.real_kafka


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
