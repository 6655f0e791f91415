"""The worker's topics from outside: publishing commands, and reading results as they become visible."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import ConsumerRecord, RecordMetadata, TopicPartition

from worker.messages.events import Header
from worker.messages.refusals import Kind
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster, client_options

POLL_MS = 50


class CommandPublisher:
    """One producer, which is idempotent: a retry after a lost acknowledgement is no second command."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topic_commands
        self._producer = AIOKafkaProducer(**client_options(settings), enable_idempotence=True)

    async def start(self) -> None:
        """Connect; raises `KafkaError`."""
        await self._producer.start()

    async def publish(self, key: bytes | None, value: bytes | None, headers: list[Header]) -> asyncio.Future[str]:
        """Hand a command over; its place, `<topic>/<partition>/<offset>`, once acknowledged, or a `KafkaError`."""
        delivery = await self._producer.send(self._topic, value, key=key, headers=headers)
        return asyncio.ensure_future(_place(delivery))

    async def close(self) -> None:
        """Safe to call when it never started."""
        await self._producer.stop()


async def _place(delivery: "asyncio.Future[RecordMetadata]") -> str:
    where = await delivery
    return f"{where.topic}/{where.partition}/{where.offset}"


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """A record of a result topic, and the partition that it was read from."""

    kind: Kind
    topic: str
    partition: int
    headers: Mapping[str, str]
    value: bytes


class ResultWatcher:
    """Reads the result and dead-letter topics as any consumer would, `read_committed`, from where they end now.

    It is in no group, so that it leaves nothing behind on a cluster that is not ours. Each result comes with the time,
    by `time.monotonic()`, at which it was read, each dead letter as the place of its command.
    """

    def __init__(
        self,
        settings: Settings,
        on_result: Callable[[ResultRecord, float], None],
        on_dead_letter: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._kinds = dict(zip(settings.result_topics, Kind, strict=True))
        self._on_result, self._on_dead_letter = on_result, on_dead_letter
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            fetch_max_wait_ms=POLL_MS,
        )

    async def start(self) -> None:
        """Whatever is committed after this is seen by `run`. Raises `CLUSTER_ERRORS`."""
        counts = await self._partition_counts()
        places = [TopicPartition(topic, partition) for topic, count in counts.items() for partition in range(count)]
        await self._consumer.start()
        self._consumer.assign(places)
        for place, end in (await self._consumer.end_offsets(places)).items():
            self._consumer.seek(place, end)

    async def _partition_counts(self) -> dict[str, int]:
        cluster = Cluster(self._settings)
        try:
            return await cluster.partition_counts([*self._kinds, self._settings.dead_letter_topic])
        finally:
            await cluster.close()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            now = time.monotonic()
            for place, records in fetched.items():
                for record in records:
                    self._take(place, record, now)

    async def close(self) -> None:
        """Safe to call when it never started."""
        await self._consumer.stop()

    def _take(self, place: TopicPartition, record: ConsumerRecord, now: float) -> None:
        headers = {name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None}
        if place.topic in self._kinds:
            self._on_result(
                ResultRecord(self._kinds[place.topic], place.topic, place.partition, headers, record.value), now
            )
        else:
            self._on_dead_letter("/".join(headers[f"dlq-original-{name}"] for name in ("topic", "partition", "offset")))
