"""Reading topics from outside, for operators: without a group, `read_committed`."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Literal, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.messages.envelope import Record
from worker.settings import Settings
from worker.stream.aiokafka_internals import client_of, wait_for_topic
from worker.stream.cluster.connection import ANSWER_SECONDS, client_options, close_within
from worker.stream.fetched import record_of

FETCH_BYTES = 1024 * 1024
"""For a partition at once; as many again wait until they are asked for."""
RECORDS_AT_ONCE = 300
"""More take longer each: they do not stay in the processor's cache."""
_POLL_MS = 500
_LONG_POLL_MS = 20
"""How long a broker may wait for records of partitions that have none, while others wait for their turn."""


class Bounds(NamedTuple):
    """The first offset of a log, and the offset behind its last readable record."""

    first: int
    end: int


class LogReader:
    """Some partitions of any topics. Every method raises `CLUSTER_ERRORS`, none waits for ever."""

    def __init__(self, settings: Settings, consumer: AIOKafkaConsumer) -> None:
        self._settings, self._consumer = settings, consumer

    async def bounds(self, topic: str, partitions: Collection[int]) -> dict[int, Bounds]:
        """Where the logs of a topic begin and end now."""
        places = [TopicPartition(topic, one) for one in partitions]
        async with asyncio.timeout(ANSWER_SECONDS):
            await wait_for_topic(client_of(self._consumer), topic)  # else the client finds it missing, and pauses
            firsts = await self._consumer.beginning_offsets(places)
            ends = await self._consumer.end_offsets(places)
        return {place.partition: Bounds(firsts[place], ends[place]) for place in places}

    async def first_since(self, topic: str, partitions: Sequence[int], time: datetime) -> dict[int, int]:
        """Offset of the first record appended then or later; where the log ends, if there is none."""
        places = [TopicPartition(topic, one) for one in partitions]
        milliseconds = round(time.timestamp() * 1000)
        async with asyncio.timeout(ANSWER_SECONDS):
            await wait_for_topic(client_of(self._consumer), topic)
            found = await self._consumer.offsets_for_times(dict.fromkeys(places, milliseconds))
            ends = await self._consumer.end_offsets(places)
        return {place.partition: ends[place] if (at := found.get(place)) is None else at.offset for place in places}

    def assign(self, starts: Mapping[tuple[str, int], int]) -> None:
        """From now on `read` may be asked for these partitions, by topic and number; each begins at its offset."""
        places = {TopicPartition(*one): start for one, start in starts.items()}
        self._consumer.assign(list(places))
        self._consumer.pause(*places)  # a fetch of what is empty would hold up those behind it
        for place, start in places.items():
            self._consumer.seek(place, start)

    async def read(self, topic: str, partition: int, start: int, stop: int) -> AsyncIterator[list[Record]]:
        """Records of an assigned partition at offsets from `start` to below `stop`, past markers and aborted ones.

        Another partition may be read between two of its lists.
        """
        place = TopicPartition(topic, partition)
        at = start
        self._consumer.resume(place)
        if await self._consumer.position(place) != start:
            self._consumer.seek(place, start)
        while at < stop:
            fetched = await self._fetch(place)
            async with asyncio.timeout(ANSWER_SECONDS):
                at = await self._consumer.position(place)
            if fetched:
                yield [record_of(one) for one in fetched if one.offset < stop]
        self._consumer.pause(place)

    async def _fetch(self, place: TopicPartition) -> Sequence[ConsumerRecord]:
        """What there is; a partition whose leader is away gives nothing for `ANSWER_SECONDS`, and then raises."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                before = await self._consumer.position(place)
                found = await self._consumer.getmany(place, timeout_ms=_POLL_MS, max_records=RECORDS_AT_ONCE)
                records: Sequence[ConsumerRecord] = found.get(place, ())
                if records or await self._consumer.position(place) != before:
                    return records


@asynccontextmanager
async def log_reader(
    settings: Settings, isolation: Literal["read_committed", "read_uncommitted"] = "read_committed"
) -> AsyncIterator[LogReader]:
    """A reader of its own connections. To an uncommitted one, logs end behind what transactions have open.

    Raises `CLUSTER_ERRORS`.
    """
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        isolation_level=isolation,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_wait_ms=_LONG_POLL_MS,
    )
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await consumer.start()
        yield LogReader(settings, consumer)
    finally:
        await close_within(consumer.stop(), 2.0)
