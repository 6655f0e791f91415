"""Reads results as they become visible, for the demo, `submit` and `tail`."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from worker.messages.events import Header, cause_text
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.stream.cluster.connection import ANSWER_SECONDS, Cluster, client_options, close_within
from worker.stream.log_reader import LogReader

POLL_MS = 50
_RECORDS_AT_ONCE = 1000
# Results in a partition that was added to a topic are seen this much later. The client's own value is five minutes.
_METADATA_MS = 30_000
# For all partitions of a broker together. The client holds as many bytes again until they are polled.
_FETCH_BYTES = 4 * 1024 * 1024


class ResultRecord(NamedTuple):
    """A record of a result topic."""

    kind: Kind
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]

    @property
    def cause(self) -> str:
        """`<topic>/<partition>/<offset>` of the command; empty for a stranger's record that names no command."""
        return cause_text(self.headers).decode("utf-8", "replace")

    @property
    def is_replayed(self) -> bool:
        """Whether this repeats an earlier created event, for a command with the same idempotency key."""
        return self.header("idempotency-replayed") == "true"

    def header(self, name: str) -> str | None:
        """The last value of a header, as text; None if the record has no such header."""
        for key, value in reversed(self.headers):
            if key == name and value is not None:
                return value.decode("utf-8", "replace")
        return None


class ResultWatcher:
    """Reads the result topics as any consumer would, `read_committed`.

    The consumer is in no group, so it leaves nothing behind on somebody else's cluster.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kinds = dict(zip(settings.result_topics, Kind, strict=True))
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",  # expired records are an error, and are not skipped
            fetch_max_wait_ms=POLL_MS,
            fetch_max_bytes=_FETCH_BYTES,
            metadata_max_age_ms=_METADATA_MS,
        )

    async def start(self) -> None:
        """Begin to read at the ends of the topics. Raises `CLUSTER_ERRORS`."""
        cluster, ends = Cluster(self._settings), dict[TopicPartition, int]()
        try:
            for topic, count in (await cluster.partition_counts([*self._kinds])).items():
                bounds = await LogReader(cluster).bounds(topic, range(count))
                ends |= {TopicPartition(topic, partition): end for partition, (_, end) in bounds.items()}
        finally:
            await cluster.close()
        await self.start_at(ends)

    async def start_at(self, starts: Mapping[TopicPartition, int]) -> None:
        """Begin to read these logs at these offsets. Raises `CLUSTER_ERRORS`."""
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._consumer.start()
        self._assign(starts)

    async def poll(self) -> list[ResultRecord]:
        """Return the records that have come, in order within a partition. Waits up to `POLL_MS` for the first one.

        Raises `CLUSTER_ERRORS`. Header names that are not UTF-8 are escaped.
        """
        await self._assign_added()
        fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=_RECORDS_AT_ONCE)
        return [
            ResultRecord(self._kinds[log.topic], *record[:-1]) for log, records in fetched.items() for record in records
        ]

    async def _assign_added(self) -> None:
        """Read partitions that were added to the topics meanwhile, too: from their first records on."""
        assigned = self._consumer.assignment()
        known = {
            TopicPartition(topic, partition)
            for topic in self._kinds
            for partition in self._consumer.partitions_for_topic(topic) or ()
        }
        if added := known - assigned:
            positions = {log: await self._consumer.position(log) for log in assigned}
            self._assign(positions | dict.fromkeys(added, 0))

    def _assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._consumer.assign([*offsets])
        for log, offset in offsets.items():
            self._consumer.seek(log, offset)

    async def close(self) -> None:
        """Close the connections, also of a watcher that never started. Waits two seconds at most."""
        await close_within(self._consumer.stop(), 2.0)
