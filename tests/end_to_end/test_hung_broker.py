"""A broker hangs, and counts as alive: lanes that need nothing of it go on, also when they have to open anew."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from tests.chaos.watch import Watch
from tests.infrastructure.databases import fresh_database
from tests.infrastructure.postgres import end_sessions
from tests.infrastructure.processes import is_stopped
from tests.infrastructure.three_brokers import ThreeBrokers, three_brokers
from tests.invariants import check_invariants
from tests.workbench import Workbench, get, make_workbench, settings_of, tenant, topic_environment, until
from worker.tools.common.wanted_topics import wanted_topics
from worker.tools.demo.embedded import HOST, EmbeddedPostgres, free_port

HUNG = 3
REPLICAS = [[1, 2], [2, 1], [1, 2], [2, 1], [HUNG, 1], [HUNG, 2]]
"""Of partition n, for commands, results and dead letters."""
ELSEWHERE, LED = (0, 1, 2, 3), (4, 5)
ALL = (*ELSEWHERE, *LED)

HANG_SECONDS = float(os.environ.get("PASSPORT_TEST_HANG_SECONDS", "18"))
SESSION_MS = 90_000
"""Until then the others take a broker for alive that says nothing."""
P99_SECONDS = float(os.environ.get("PASSPORT_TEST_P99_SECONDS", "10"))
"""A stall of everything lasts as long as the hang. A quiet machine answers within 3 s."""


@pytest.fixture(scope="module")
def kafka() -> Iterator[ThreeBrokers]:
    """Groups and transactions are coordinated by those that do not hang."""
    with three_brokers(session_ms=SESSION_MS) as kafka:
        kafka.make_coordinators([node for node in (1, 2, 3) if node != HUNG])
        yield kafka


@dataclass
class Lanes:
    """A workbench of six partitions with one worker, and how long commands waited, by partition and append time."""

    bench: Workbench
    kafka: ThreeBrokers
    log: Path
    port: int = field(default_factory=free_port)
    waits: list[tuple[int, float, float]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def start_worker(self, crash_point: str | None = None) -> "subprocess.Popen[bytes]":
        """Its clients ask the broker that will hang whenever they have a choice. It stops itself at a crash point."""
        return self.bench.start_worker(
            self.log,
            module="tests.end_to_end.unlucky_worker",
            TEST_UNLUCKY=f"{HUNG}:{self.kafka.broker(HUNG).port}",
            TEST_UNLUCKY_CRASH="" if crash_point is None else f"{crash_point}:1:freeze",
            PASSPORT_KAFKA_BOOTSTRAP_SERVERS=self.kafka.bootstrap_servers,
            PASSPORT_HTTP_PORT=str(self.port),
            PASSPORT_KAFKA_SESSION_TIMEOUT_SECONDS="15",
        )

    async def is_ready(self) -> None:
        """Until all lanes run."""
        ready = f"http://{HOST}:{self.port}/readyz"
        await until(lambda: get(ready)[0] == 200, 60, f"ready\n{self.bench.log_tail()}")

    def publish(self, *partitions: int) -> None:
        """Ten valid commands for each of these partitions."""
        self.bench.publish(
            self.bench.command(tenant(number % 3), number % 3, f"unit-{number}", partition=partition)
            for partition in partitions
            for _, number in zip(range(10), self._numbers, strict=False)
        )

    async def publish_for(self, seconds: float, *partitions: int) -> None:
        """Some 40 commands a second for each of these partitions."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.gather(asyncio.to_thread(self.publish, *partitions), asyncio.sleep(0.25))

    def quantiles(self, since: float) -> tuple[float, float, float]:
        """Median, 99th percentile and maximum of what commands elsewhere waited that were appended since then."""
        waits = sorted(
            waited for partition, appended, waited in self.waits if partition in ELSEWHERE and appended >= since
        )
        assert waits, f"no results\n{self.bench.log_tail()}"
        return waits[len(waits) // 2], waits[len(waits) * 99 // 100], waits[-1]


@pytest.fixture
async def lanes(
    kafka: ThreeBrokers, own_postgres: EmbeddedPostgres, kafka_prefix: str, tmp_path: Path
) -> AsyncIterator[Lanes]:
    """Without a worker as yet."""
    settings = settings_of(topic_environment(kafka_prefix, len(REPLICAS)))
    for topic in wanted_topics(settings):
        await asyncio.to_thread(kafka.make_topic, topic.name, REPLICAS, topic.settings)
    async with fresh_database(own_postgres.url) as url:
        others = ",".join(broker.bootstrap_servers for broker in kafka.brokers if broker.node_id != HUNG)
        bench = await make_workbench(others, url, kafka_prefix, len(REPLICAS))
        try:
            yield Lanes(bench, kafka, tmp_path / "worker.log")
        finally:
            kafka.broker(HUNG).thaw()
            await asyncio.to_thread(bench.kill_workers)


@pytest.mark.parametrize(
    "crash_point",
    [pytest.param(None, marks=pytest.mark.repeat), pytest.param("begin", marks=pytest.mark.repeat), "EndTxn sent"],
)
async def test_a_hung_broker_stalls_only_what_it_leads(lanes: Lanes, crash_point: str | None) -> None:
    """Also while all sessions with Postgres are ended, twice, so that all lanes open anew. Then nothing is missing.

    When the broker hangs, a transaction that goes there has no result there yet, or is decided and lacks its marker.
    Or what is in flight needs nothing of it.
    """
    watch = Watch(lanes.bench, lambda *waited: lanes.waits.append(waited))
    with watch:
        worker = lanes.start_worker()
        await lanes.is_ready()
        await lanes.publish_for(2, *ALL)
        await until(lambda: not watch.lag(), 30, "all is answered")
        if crash_point is None:
            await lanes.publish_for(2, *ELSEWHERE)
        else:
            await asyncio.to_thread(lanes.bench.stop_worker, worker)
            lanes.publish(*LED)
            worker = lanes.start_worker(crash_point)
            await until(lambda: is_stopped(worker), 60, f"stopped at {crash_point}\n{lanes.bench.log_tail()}")
        lanes.kafka.broker(HUNG).freeze()
        worker.send_signal(signal.SIGCONT)
        hung_at = time.time()
        publishing = asyncio.create_task(lanes.publish_for(HANG_SECONDS, *ELSEWHERE))
        for _ in range(2):
            await asyncio.sleep(HANG_SECONDS / 3)
            await end_sessions(lanes.bench.settings.database_url)
        await publishing
        assert lanes.kafka.leaders(lanes.bench.settings.topic_commands)[LED[0]] == HUNG, "the broker counts as dead"
        lanes.kafka.broker(HUNG).thaw()
        lanes.publish(*ALL)
        await until(lambda: not watch.lag(), 60, f"all is answered\n{lanes.bench.log_tail()}")
        median, p99, longest = lanes.quantiles(hung_at)
    told = f"p50 {median:.2f} s, p99 {p99:.2f} s, max {longest:.2f} s"
    print(told)
    assert p99 < P99_SECONDS, f"{told}\n{lanes.bench.log_tail()}"
    await check_invariants(lanes.bench)
