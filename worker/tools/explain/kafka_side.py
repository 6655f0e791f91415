"""Finds the record, the result and the dead letter of one command in Kafka, without reading whole logs."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiokafka.structs import TopicPartition

from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.offset_fetch_v7 import Committed
from worker.stream.log_reader import LOOK_BYTES, Bounds, LogReader
from worker.stream.published import before
from worker.tools.common.history import Topics, cause_reader

# Offsets read around the place where a result should be, since repeats may be anywhere.
AROUND = 5000

Cause = Callable[[Record], int | None]


@dataclass(frozen=True, slots=True)
class KafkaSide:
    """The topics of a channel as they were at the start. `emitted` lacks partitions without a committed offset."""

    settings: Settings
    reader: LogReader
    topics: Topics
    bounds: Mapping[int, Bounds]
    emitted: Mapping[int, int]

    async def record_of(self, command: Place) -> Record | None:
        """The record at a place of the command topic; None if no record is visible."""
        bounds = self.bounds.get(command.partition)
        if bounds is None or not bounds.first <= command.offset < bounds.end:
            return None
        return await self.reader.record(*command)

    async def naming(self, kind: Kind | None, command: Place, appended_ms: int, *, everywhere: bool) -> Record | None:
        """Find the first result of a kind that names a command; with kind None, its dead letter.

        The search reads only some records. If it fails, `everywhere` reads the whole log from the command's time on.
        """
        name = self.settings.dead_letter_topic if kind is None else self.settings.result_topics[kind - 1]
        if name not in self.topics.counts:
            return None
        topic, partition = self.topics.place(kind, command.partition)
        firsts, bounds = await asyncio.gather(
            self.reader.first_since(topic, [partition], before(self.settings, appended_ms)),
            self.reader.bounds(topic, [partition]),
        )
        first, end = firsts[partition], bounds[partition].end
        log = NamingRecords(self.reader, topic, partition, cause_reader(self.settings, command.partition, kind))
        record, expected_at = await log.search(first, end, command.offset)
        if record is None:
            start, stop = max(first, expected_at - AROUND // 2), min(end, expected_at + AROUND // 2)
            record = await log.first(start, stop, command.offset)
        if record is None and everywhere:
            record = await log.first(first, end, command.offset)
        return record


@dataclass(frozen=True, slots=True)
class NamingRecords:
    """A partition of results or dead letters. `cause` returns the offset of our command that a record names."""

    reader: LogReader
    topic: str
    partition: int
    cause: Cause

    async def search(self, low: int, high: int, wanted: int) -> tuple[Record | None, int]:
        """Find the record that names the command `wanted`; also return the offset at which it should be.

        First results ascend by the command they name. The search interpolates, since most logs grow evenly, and halves
        the range if interpolation is not possible yet or did not help.
        """
        match, least, most, size = None, None, None, 2 * (high - low)
        while low < high:
            middle, helped, size = (low + high) // 2, 2 * (high - low) <= size, high - low
            if helped and least is not None and most is not None:
                middle = min(high - 1, low + size * (wanted - least) // (most - least))
            cause, record = await self._next_naming(middle, high)
            if cause is None or record is None:
                high = middle
            elif cause < wanted:
                low, least = record.offset + 1, cause
            else:
                match = record if cause == wanted else match
                high, most = middle, cause
        return match, low

    async def first(self, start: int, stop: int, wanted: int) -> Record | None:
        """Read all of these offsets, and return the first record that names the command `wanted`."""
        async for records in self.reader.read(self.topic, self.partition, start, stop):
            for record in records:
                if self.cause(record) == wanted:
                    return record
        return None

    async def _next_naming(self, start: int, stop: int) -> tuple[int | None, Record | None]:
        """The first record from `start` on that names one of our commands: others may share the partition."""
        async for records in self.reader.read(self.topic, self.partition, start, stop, fetch_bytes=LOOK_BYTES):
            for record in records:
                if (cause := self.cause(record)) is not None:
                    return cause, record
        return None, None


async def open_kafka(settings: Settings, cluster: Cluster) -> KafkaSide:
    """Read the bounds of the logs, and the group's offsets. Raises `CLUSTER_ERRORS`, also without the command topic."""
    topic, reader = settings.topic_commands, LogReader(cluster)
    # Asking for the id fails if the topic is missing. The counts would only lack it.
    _, counts = await asyncio.gather(
        cluster.identity(topic), cluster.partition_counts([topic, *settings.answer_topics])
    )
    partitions = range(counts[topic])
    committed, bounds = await asyncio.gather(
        cluster.committed(settings.group_id, [TopicPartition(topic, at) for at in partitions], stable=False),
        reader.bounds(topic, partitions),
    )
    emitted = {at: offset.offset for (_, at), offset in committed.items() if isinstance(offset, Committed)}
    return KafkaSide(settings, reader, Topics(settings, counts), bounds, emitted)
