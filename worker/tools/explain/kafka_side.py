"""What Kafka has of one command: its record, its result and its dead letter, found without reading whole logs."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.offset_fetch_v7 import Committed
from worker.stream.log_reader import LOOK_BYTES, Bounds, LogReader
from worker.stream.published import before
from worker.tools.common.history import Topics, cause_reader

AROUND = 5000
"""So many offsets around a result's place are read where it does not stand there: repeats may stand anywhere."""

Cause = Callable[[Record], int | None]


@dataclass(frozen=True, slots=True)
class KafkaSide:
    """How the command topic stood at the start, and who reads; `emitted` lacks partitions without an offset."""

    settings: Settings
    reader: LogReader
    topics: Topics
    bounds: Mapping[int, Bounds]
    emitted: Mapping[int, int]

    async def command(self, place: Place) -> Record | None:
        """The record at a place of the command topic; None where none is visible."""
        bounds = self.bounds.get(place.partition)
        if bounds is None or not bounds.first <= place.offset < bounds.end:
            return None
        return await self.reader.record(place.topic, place.partition, place.offset)

    async def naming(self, kind: Kind | None, place: Place, appended_ms: int, *, everywhere: bool) -> Record | None:
        """The first result of a kind that names a command, or its dead letter (None); as far as a search finds it.

        `everywhere`: read the log from the command's time on, where the search finds nothing.
        """
        name = self.settings.dead_letter_topic if kind is None else self.settings.result_topics[kind - 1]
        if name not in self.topics.counts:
            return None
        topic, partition = self.topics.place(kind, place.partition)
        firsts, bounds = await asyncio.gather(
            self.reader.first_since(topic, [partition], before(appended_ms)), self.reader.bounds(topic, [partition])
        )
        first, end = firsts[partition], bounds[partition].end
        log = NamingRecords(self.reader, (topic, partition), cause_reader(self.settings, place.partition, kind))
        found, at = await log.search(first, end, place.offset)
        if found is None:
            found = await log.first(max(first, at - AROUND // 2), min(end, at + AROUND // 2), place.offset)
        if found is None and everywhere:
            found = await log.first(first, end, place.offset)
        return found


@dataclass(frozen=True, slots=True)
class NamingRecords:
    """A partition of results, or of dead letters; `cause` tells which command of ours each names."""

    reader: LogReader
    place: tuple[str, int]
    cause: Cause

    async def search(self, low: int, high: int, wanted: int) -> tuple[Record | None, int]:
        """First results ascend by the command they name. The record, and where it should stand.

        Looks where it stands by proportion, since logs grow evenly for the most part; in the middle, where that is not
        known or did not help.
        """
        found, least, most, size = None, None, None, 2 * (high - low)
        while low < high:
            at, helped, size = (low + high) // 2, 2 * (high - low) <= size, high - low
            if helped and least is not None and most is not None:
                at = min(high - 1, low + size * (wanted - least) // (most - least))
            one = await self._next_named(at, high)
            if one is not None and one[0] < wanted:
                low, least = one[1].offset + 1, one[0]
                continue
            if one is not None:
                most = one[0]
                found = one[1] if most == wanted else found
            high = at
        return found, low

    async def first(self, start: int, stop: int, wanted: int) -> Record | None:
        """The first record that names it, by reading all of these offsets."""
        async for records in self.reader.read(*self.place, start, stop):
            for record in records:
                if self.cause(record) == wanted:
                    return record
        return None

    async def _next_named(self, start: int, stop: int) -> tuple[int, Record] | None:
        """The first record at or behind an offset that names a command of ours: others may share the partition."""
        async for records in self.reader.read(*self.place, start, stop, fetch_bytes=LOOK_BYTES):
            for record in records:
                if (cause := self.cause(record)) is not None:
                    return cause, record
        return None


async def open_kafka(settings: Settings, cluster: Cluster) -> KafkaSide:
    """Asks where the logs and the group stand. Raises `CLUSTER_ERRORS`, also where there is no command topic."""
    topic, reader = settings.topic_commands, LogReader(cluster)
    _, counts = await asyncio.gather(
        cluster.identity(topic), cluster.partition_counts([topic, *settings.answer_topics])
    )
    partitions = range(counts[topic])
    committed, bounds = await asyncio.gather(
        cluster.committed(settings.group_id, topic, partitions, stable=False), reader.bounds(topic, partitions)
    )
    emitted = {at: one.offset for at, one in committed.items() if isinstance(one, Committed)}
    return KafkaSide(settings, reader, Topics(settings, counts), bounds, emitted)
