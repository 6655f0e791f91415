"""What the guard tests share: the real worker in this process, raw records, and locks that hold it up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record._crc32c import crc as crc32c
from aiokafka.structs import TopicPartition
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from tests.workbench import Workbench, tenant, until
from worker.app import make_worker
from worker.observability.spans import Tracing
from worker.service import Worker
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.group import GroupMembership
from worker.stream.lane import Lane, LaneState

_CRC_AT, _COVERED_FROM = 17, 21
"""Where a record batch of version 2 keeps its CRC, and the first byte that it covers."""

Raw = tuple[bytes, Sequence[tuple[str, bytes]]]
"""Value and headers of a record."""


@dataclass
class Running:
    """A worker in this process, wired by the application itself."""

    worker: Worker
    task: "asyncio.Task[None]"
    topic: str

    @property
    def assignment(self) -> GroupMembership:
        """The membership of the group that there is now."""
        assert self.worker._membership is not None
        return self.worker._membership

    def lane(self, partition: int = 0) -> Lane:
        """The lane of a partition."""
        return self.assignment.lanes[TopicPartition(self.topic, partition)]

    def place(self, partition: int = 0) -> TopicPartition:
        """A partition of the command topic, for aiokafka."""
        return TopicPartition(self.topic, partition)

    def metric(self, name: str, partition: int = 0) -> float | None:
        """A sample of the worker's own registry."""
        labels = {"topic": self.topic, "partition": str(partition)}
        return self.worker._metrics.registry.get_sample_value(name, labels)

    def reopenings(self, partition: int = 0) -> int:
        """How often the lane was opened again on doubt."""
        return int(self.metric("passport_lane_reopenings_total", partition) or 0)

    def is_member(self) -> bool:
        """Whether the group has assigned partitions."""
        return self.worker._membership is not None and self.worker._membership.assigned

    def lanes_run(self) -> bool:
        """Whether every lane reads."""
        return self.is_member() and all(lane.state is LaneState.RUNNING for lane in self.assignment.lanes.values())

    async def emitted(self, offset: int, partition: int = 0) -> None:
        """Until the lane has committed that offset."""

        def is_there() -> bool:
            sessions = self.assignment._sessions
            opened = [one for session in sessions._open for one in session._open.values()] if sessions else []
            return any(one.emitted == offset for one in opened if one.name.partition == partition)

        await until(is_there, 20, f"E at {offset} in partition {partition}")

    async def committed(self, partition: int = 0) -> int | None:
        """E, as the broker says it."""
        group = self.worker._settings.group_id
        offset = (await self.worker._cluster.committed(group, [TopicPartition(self.topic, partition)]))[
            self.topic, partition
        ]
        assert not isinstance(offset, KafkaError)
        return None if offset is None else offset.offset


@asynccontextmanager
async def running(
    bench: Workbench, *, opened: bool = True, settings: Settings | None = None, tracing: Tracing | None = None
) -> AsyncIterator[Running]:
    """The worker in this process, stopped at the end; `opened` waits until its lanes read."""
    settings = settings or bench.settings
    worker = make_worker(settings, tracing)
    one = Running(worker, asyncio.create_task(worker.run()), settings.topic_commands)
    try:
        await until(one.lanes_run if opened else one.is_member, 40, f"a member: {worker.not_ready()}")
        yield one
    finally:
        worker.stop()
        await asyncio.wait_for(one.task, 30)


def changed(settings: Settings, **values: object) -> Settings:
    """The same settings but for these."""
    return Settings(**{**settings.model_dump(), **values})


async def publish(bench: Workbench, commands: Iterable[Mapping[str, object]]) -> None:
    """Publish without stopping the event loop, on which the worker under test runs too."""
    await asyncio.to_thread(bench.publish, commands)


def commands(bench: Workbench, start: int, stop: int, partition: int | None = 0) -> list[dict[str, object]]:
    """Valid commands of serials `unit-<n>`; without a partition they alternate between two."""
    return [
        bench.command(tenant(n % 3), n % 3, f"unit-{n}", partition=n % 2 if partition is None else partition)
        for n in range(start, stop)
    ]


@asynccontextmanager
async def held(bench: Workbench, statement: str = "LOCK TABLE lane IN EXCLUSIVE MODE") -> AsyncIterator[None]:
    """Hold a lock in Postgres that the worker waits for; by default every write to `lane` waits."""
    connection = await bench.connect()
    try:
        async with connection.transaction():
            await connection.execute(statement)
            yield
    finally:
        await connection.close()


LANE_ROWS = "SELECT 1 FROM lane WHERE partition = 0 FOR UPDATE"
"""A lock on the lane of partition 0 alone."""


async def publish_raw(
    bench: Workbench,
    records: Sequence[Raw],
    garble: tuple[bytes, bytes] = (b"", b""),
    partition: int = 0,
    topic: str | None = None,
) -> int:
    """One record batch in which some bytes are replaced and whose CRC is right again; its first offset.

    To the command topic, unless another is named. No client library can write a header name that is
    not UTF-8, but a stranger's can.
    """
    producer = AIOKafkaProducer(bootstrap_servers=bench.settings.kafka_bootstrap_servers, max_batch_size=1_000_000)
    await producer.start()
    try:
        batch = producer.create_batch()
        for value, headers in records:
            assert batch.append(timestamp=None, key=None, value=value, headers=headers) is not None
        batch.close()
        build = batch._build
        batch._build = lambda: _garbled(bytes(build()), *garble)
        sent = await producer.send_batch(batch, topic or bench.settings.topic_commands, partition=partition)
        return int((await asyncio.wait_for(sent, 20)).offset)
    finally:
        await producer.stop()


def _garbled(batch: bytes, old: bytes, new: bytes) -> bytearray:
    assert len(old) == len(new)
    assert not old or batch.count(old) == 1
    changed = bytearray(batch.replace(old, new) if old else batch)
    changed[_CRC_AT:_COVERED_FROM] = crc32c(bytes(changed[_COVERED_FROM:])).to_bytes(4, "big")
    return changed


def raw(bench: Workbench, number: int, *headers: tuple[str, bytes]) -> Raw:
    """A valid command as value and headers."""
    command = bench.command(tenant(0), 0, f"raw-{number}")
    value, own = command["value"], command["headers"]
    assert isinstance(value, bytes)
    assert isinstance(own, list)
    return value, [*own, *headers]


async def set_topic(bench: Workbench, topic: str, name: str, value: str) -> None:
    """Change one configuration of a topic, and wait until the broker goes by it."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    await _ask(bench, lambda admin: admin.incremental_alter_configs([resource])[resource])
    cluster = Cluster(bench.settings)
    try:
        for _ in range(400):
            if (await cluster.topic_settings(topic))[name] == value:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{topic}: {name} is not {value} after 20 s")
    finally:
        await cluster.close()


async def raise_partitions(bench: Workbench, topic: str, count: int) -> None:
    """Give a topic more partitions, and wait until the broker tells of them."""
    await _ask(bench, lambda admin: admin.create_partitions([NewPartitions(topic, count)])[topic])
    cluster = Cluster(bench.settings)
    try:
        while (await cluster.partition_counts([topic]))[topic] != count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    finally:
        await cluster.close()


async def reset_offset(bench: Workbench, offset: int, partition: int = 0) -> None:
    """Set the group's committed offset, as an operator would; the group must be empty."""
    group = bench.settings.group_id
    wanted = ConsumerGroupTopicPartitions(group, [Place(bench.settings.topic_commands, partition, offset)])
    await _ask(bench, lambda admin: admin.alter_consumer_group_offsets([wanted])[group])


async def expire(bench: Workbench, offset: int, partition: int = 0) -> None:
    """Delete the commands below an offset, as the topic's retention would."""
    place = Place(bench.settings.topic_commands, partition, offset)
    await _ask(bench, lambda admin: next(iter(admin.delete_records([place]).values())))


async def _ask(bench: Workbench, question: "Callable[[AdminClient], Future[object]]") -> None:
    client = AdminClient({"bootstrap.servers": bench.settings.kafka_bootstrap_servers})
    await asyncio.to_thread(lambda: question(client).result(20))


async def log_end(bench: Workbench, partition: int = 0) -> int:
    """The high watermark of a command partition: markers and aborted records count."""

    def ask() -> int:
        consumer = Consumer({"bootstrap.servers": bench.settings.kafka_bootstrap_servers, "group.id": "nobody"})
        try:
            place = Place(bench.settings.topic_commands, partition)
            return int(consumer.get_watermark_offsets(place, timeout=20)[1])
        finally:
            consumer.close()

    return await asyncio.to_thread(ask)


def transaction(bench: Workbench, records: list[dict[str, object]], *, commit: bool) -> None:
    """Publish in one Kafka transaction, which ends with a marker."""
    servers, name = bench.settings.kafka_bootstrap_servers, f"{bench.settings.group_id}-mes"
    producer = Producer({"bootstrap.servers": servers, "transactional.id": name})
    producer.init_transactions(20)
    producer.begin_transaction()
    for record in records:
        producer.produce(bench.settings.topic_commands, **record)  # type: ignore[arg-type]
    assert producer.flush(20) == 0
    (producer.commit_transaction if commit else producer.abort_transaction)(20)


def answer_fetches(
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[bytes], bytes],
    most: int = 1_000_000,
    latency_seconds: float = 0.0,
) -> None:
    """Change the records in the broker's answers to fetches, at most so many times, and answer later."""
    original, changes = AIOKafkaClient.send, list[int]()

    async def send(self: AIOKafkaClient, node: int, request: Any, **options: Any) -> Any:
        response = await original(self, node, request, **options)
        if isinstance(request, FetchRequest):
            await asyncio.sleep(latency_seconds)
            response.topics = [(topic, [one(*part) for part in parts]) for topic, parts in response.topics]
        return response

    def one(*part: Any) -> tuple[Any, ...]:
        records = bytes(part[-1] or b"")
        if not records or len(changes) >= most:
            return part
        changes.append(len(records))
        return (*part[:-1], change(records))

    monkeypatch.setattr(AIOKafkaClient, "send", send)
