"""A result partition without a leader, and a topic that refuses a result: their lane waits, and the others go on."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.infrastructure.databases import fresh_database
from tests.infrastructure.processes import is_stopped
from tests.infrastructure.two_brokers import FirstBroker, two_brokers
from tests.integration.guards_helpers import set_topic
from tests.invariants import check_invariants
from tests.workbench import Workbench, get, make_workbench, settings_of, tenant, topic_environment, until
from worker.tools.common.wanted_topics import wanted_topics
from worker.tools.demo.embedded import EmbeddedPostgres, free_port

ALONE = 1
"""The partition whose results of kind `created` are on broker 2."""
OTHERS, ALL = (0, 2), (0, 1, 2)
LEADERS = [1, 2, 1]
GO_ON_SECONDS = 30.0
START_SECONDS = 60.0
BACK_SECONDS = 60.0


@pytest.fixture(scope="module")
def kafka() -> Iterator[FirstBroker]:
    """Two brokers of this file's own."""
    with two_brokers() as kafka:
        yield kafka


@dataclass
class Apart:
    """A workbench of three partitions, of which `created` has one on broker 2, and the port of its worker."""

    bench: Workbench
    kafka: FirstBroker
    port: int
    log: Path
    numbers: Iterator[int] = field(default_factory=count)

    def start_worker(self, crash: str | None = None) -> "subprocess.Popen[bytes]":
        """With a session that outlives the pauses of these tests."""
        return self.bench.start_worker(
            self.log, crash, PASSPORT_HTTP_PORT=str(self.port), PASSPORT_KAFKA_SESSION_TIMEOUT_SECONDS="15"
        )

    @property
    def no_leader_reason(self) -> str:
        """What `/readyz` has to say while broker 2 is away."""
        return f"{self.bench.settings.topic_created}/{ALONE} has no leader"

    def ready(self) -> tuple[int, list[str]]:
        """Status and lines of `/readyz`."""
        status, text = get(f"http://127.0.0.1:{self.port}/readyz")
        return status, text.splitlines()

    def publish(self, *partitions: int, each: int = 20) -> None:
        """So many valid commands to each of these partitions, and then one of garbage, whose result is on broker 1."""
        commands = [
            self.bench.command(tenant(n % 3), n % 3, f"unit-{n}", key=f"key-{n}", partition=partition)
            for _ in range(each)
            for partition, n in zip(partitions, self.numbers, strict=False)
        ]
        commands += [{"value": b"\xff garbage", "headers": [], "partition": partition} for partition in partitions]
        self.bench.publish(commands)

    def answered(self, partition: int) -> int:
        """The offset behind the last command of a partition with a result on broker 1."""
        settings = self.bench.settings
        topics = [one for one in settings.result_topics if (one, partition) != (settings.topic_created, ALONE)]
        results = self.bench.read(topics, partitions=[partition])
        return max((int(one.cause.rpartition("/")[2]) + 1 for one in results), default=0)

    def ends(self, topic: str, partition: int, isolation: str = "read_uncommitted") -> int:
        """The end of a partition: the high watermark, or the offset of the first record that is not decided."""
        options = {"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": "ends", "isolation.level": isolation}
        consumer = Consumer(options)
        try:
            return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)[1])
        finally:
            consumer.close()

    def in_transaction(self) -> bool:
        """Whether there are undecided results on broker 2."""
        created = self.bench.settings.topic_created
        return self.ends(created, ALONE, "read_committed") < self.ends(created, ALONE)

    async def go_on(self, seconds: float, *partitions: int) -> None:
        """What was published up to now is answered in these partitions within so many seconds from now."""
        commands = self.bench.settings.topic_commands
        wanted = {partition: self.ends(commands, partition) for partition in partitions}
        deadline = time.monotonic() + seconds
        while missing := {one: end for one, end in wanted.items() if self.answered(one) < end}:
            assert time.monotonic() < deadline, f"no results up to {missing} in {seconds} s\n{self.told()}"
            await asyncio.sleep(0.2)

    async def only_this_waits(self, why: str) -> None:
        """Until `/readyz` names the lane whose results are held up, and no other, and says why."""
        deadline = time.monotonic() + GO_ON_SECONDS
        while True:
            status, lines = await asyncio.to_thread(self.ready)
            if status == 503 and len(lines) == 1 and lines[0].startswith(f"partition {ALONE} ") and why in lines[0]:
                return
            assert time.monotonic() < deadline, f"/readyz says {status} {lines}\n{self.told()}"
            await asyncio.sleep(0.2)

    async def is_ready(self, seconds: float = START_SECONDS) -> None:
        """Until all lanes run."""
        await until(lambda: self.ready()[0] == 200, seconds, f"ready: {self.ready()}")

    async def whole_again(self) -> None:
        """Until everything is answered, by itself; then each once, and all as it must be."""
        commands = self.bench.settings.topic_commands
        asked = len(await asyncio.to_thread(self.bench.read, [commands]))
        await self.bench.wait_for_results(asked, BACK_SECONDS)
        await self.is_ready()
        await check_invariants(self.bench)

    async def rests(self) -> None:
        """Until the end of the last transaction has reached broker 2."""
        await until(lambda: not self.in_transaction(), 20, "all is decided")

    async def no_leader(self) -> None:
        """Until the controller has noticed that broker 2 is gone."""
        await asyncio.to_thread(self.kafka.wait_for_leader, self.bench.settings.topic_created, ALONE, False)

    async def start_second(self) -> None:
        """Until broker 2 leads again."""
        await asyncio.to_thread(self.kafka.second.start)
        await asyncio.to_thread(self.kafka.wait_for_leader, self.bench.settings.topic_created, ALONE)

    def told(self) -> str:
        """For a failure's message."""
        return f"/readyz: {self.ready()}\n{self.bench.log_tail()}"


@pytest.fixture
async def apart(
    kafka: FirstBroker, own_postgres: EmbeddedPostgres, kafka_prefix: str, tmp_path: Path
) -> AsyncIterator[Apart]:
    """Broker 2 runs, before and after."""
    settings = settings_of(topic_environment(kafka_prefix, 3))
    for topic in wanted_topics(settings):
        leaders = LEADERS if topic.name == settings.topic_created else [1, 1, 1]
        await asyncio.to_thread(kafka.make_topic, topic.name, [[leader] for leader in leaders], topic.settings)
    async with fresh_database(own_postgres.url) as url:
        bench = await make_workbench(kafka.bootstrap_servers, url, kafka_prefix, 3)
        try:
            yield Apart(bench, kafka, free_port(), tmp_path / "worker.log")
        finally:
            await asyncio.to_thread(bench.kill_workers)
            await asyncio.to_thread(_bring_back, kafka)


def _bring_back(kafka: FirstBroker) -> None:
    if not kafka.second.is_serving():
        kafka.second.kill()  # a frozen one
        kafka.second.start()


@asynccontextmanager
async def _load(apart: Apart) -> AsyncIterator[None]:
    """Commands to all partitions, a few at a time, until the block ends."""
    stopping = asyncio.Event()

    async def publish() -> None:
        while not stopping.is_set():
            await asyncio.to_thread(apart.publish, *ALL, each=10)
            await asyncio.sleep(0.1)

    publishing = asyncio.create_task(publish())
    try:
        yield
    finally:
        stopping.set()
        await publishing


async def test_a_leader_that_goes_in_mid_transaction(apart: Apart) -> None:
    """Under load, while results are on their way to broker 2 and those of the other lanes have arrived.

    The others go on, before the controller notices and after; their neighbour is named, and catches up by itself.
    """
    created = apart.bench.settings.topic_created
    apart.start_worker()
    await apart.is_ready()
    apart.publish(*ALL)
    await apart.go_on(START_SECONDS, *ALL)
    await apart.rests()
    before, end = apart.answered(ALONE), apart.ends(created, 0)
    apart.kafka.second.freeze()  # so that nothing which is sent to it now can be committed
    async with _load(apart):
        await until(lambda: apart.ends(created, 0) > end, START_SECONDS, "results are sent")
        await asyncio.sleep(0.5)
        apart.kafka.second.kill()
        await apart.go_on(GO_ON_SECONDS, *OTHERS)
        await apart.no_leader()
        for _ in range(3):
            await apart.go_on(GO_ON_SECONDS / 2, *OTHERS)
        await apart.only_this_waits(apart.no_leader_reason)
    assert apart.answered(ALONE) == before
    await apart.start_second()
    await apart.whole_again()


async def test_a_leader_that_goes_while_the_worker_rests(apart: Apart) -> None:
    """Commands to all partitions come a while later."""
    apart.start_worker()
    await apart.is_ready()
    apart.publish(*ALL)
    await apart.go_on(START_SECONDS, *ALL)
    await apart.rests()
    apart.kafka.second.kill()
    await apart.no_leader()
    before = apart.answered(ALONE)
    for _ in range(2):
        apart.publish(*ALL)
        await apart.go_on(GO_ON_SECONDS, *OTHERS)
    await apart.only_this_waits(apart.no_leader_reason)
    assert apart.answered(ALONE) == before
    await apart.start_second()
    await apart.whole_again()


async def test_a_worker_that_starts_while_there_is_no_leader(apart: Apart) -> None:
    """It takes over from one that died with undecided results on broker 2, which cannot be ended yet."""
    worker = apart.start_worker("acks:1:kill")
    await apart.is_ready()
    apart.publish(ALONE)
    await asyncio.to_thread(worker.wait, 60)
    apart.bench.workers.remove(worker)
    assert apart.in_transaction()
    apart.kafka.second.kill()
    await apart.no_leader()
    apart.start_worker()
    await until(lambda: apart.ready()[0] != 0, START_SECONDS, "it serves")
    apart.publish(*ALL)
    await apart.go_on(GO_ON_SECONDS, *OTHERS)
    await apart.only_this_waits(apart.no_leader_reason)
    await apart.start_second()
    await apart.whole_again()


async def test_a_topic_that_refuses_a_result(apart: Apart) -> None:
    """Only the lane whose results `created` does not take any more waits; the others are answered elsewhere."""
    bench = apart.bench
    apart.start_worker()
    await apart.is_ready()
    await set_topic(bench, bench.settings.topic_created, "max.message.bytes", "200")
    for _ in range(3):
        bench.publish({"value": b"garbage", "headers": [], "partition": n} for n in OTHERS)
        apart.publish(ALONE)
        await apart.go_on(GO_ON_SECONDS, *OTHERS)
    await apart.only_this_waits("MessageSizeTooLarge")
    assert apart.answered(ALONE) == 0
    await set_topic(bench, bench.settings.topic_created, "max.message.bytes", str(2 * 1024 * 1024))
    await apart.whole_again()


@pytest.mark.parametrize("point", ["EndTxn sent"])
async def test_a_leader_that_goes_when_all_is_decided(apart: Apart, point: str) -> None:
    """The commit stands, and its end waits for broker 2: nobody has to go on, but nothing is lost or doubled."""
    worker = apart.start_worker(f"{point}:1:freeze")
    await apart.is_ready()
    apart.publish(ALONE)
    await until(lambda: is_stopped(worker), START_SECONDS, f"frozen at {point}")
    apart.kafka.second.kill()
    apart.publish(*ALL)
    os.kill(worker.pid, signal.SIGCONT)
    await apart.no_leader()
    await asyncio.sleep(3)
    await apart.start_second()
    await apart.whole_again()
