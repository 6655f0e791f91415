"""Looking into logs from outside, at single records and where logs begin and end: for operators who search."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from datetime import datetime

from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, UNKNOWN_OFFSET, PartitionRecords
from aiokafka.errors import KafkaError, LeaderNotAvailableError, NodeNotReadyError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.api import Request, Response
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.messages.envelope import Record
from worker.stream.aiokafka_internals import records_of, wait_for_topic
from worker.stream.cluster.connection import ANSWER_SECONDS, Cluster, partitions_by_leader
from worker.stream.fetched import record_of
from worker.stream.log_reader import Bounds

LOOK_BYTES = 16 * 1024
"""Enough to look at one record; brokers give the whole of a first batch that is larger."""
READ_BYTES = 1024 * 1024
"""Where many records in a row are wanted."""
_WAIT_MS = 20
"""How long a broker may wait for records that are not there."""
_PAUSES = (0.0, 0.1, 0.3, 1.0)
"""Seconds until leaders are looked for again: that of a new topic may not know it yet."""
ENDLESS = 2**62
"""Behind any offset."""
_END, _START = -1, -2
"""In place of times."""


class Probe:
    """Any topics as a `read_committed` reader sees them, over the cluster's own connections.

    Several may ask at once. Raises `CLUSTER_ERRORS`; no wait lasts.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def bounds(self, topic: str, partitions: Collection[int]) -> dict[int, Bounds]:
        """Where the logs of a topic begin and end now."""
        firsts, ends = await asyncio.gather(*(self._offsets(topic, partitions, one) for one in (_START, _END)))
        return {one: Bounds(firsts[one], ends[one]) for one in partitions}

    async def first_since(self, topic: str, partitions: Collection[int], time: datetime) -> dict[int, int]:
        """Offset of the first record appended then or later; where the log ends, if there is none."""
        times = (round(time.timestamp() * 1000), _END)
        found, ends = await asyncio.gather(*(self._offsets(topic, partitions, one) for one in times))
        return {one: ends[one] if found[one] == UNKNOWN_OFFSET else found[one] for one in partitions}

    async def records(
        self, topic: str, partition: int, start: int, stop: int, *, at_once: int = LOOK_BYTES
    ) -> AsyncIterator[Record]:
        """Those at offsets from `start` to below `stop`, read lazily, past markers and aborted ones."""
        async for found in self._walk(TopicPartition(topic, partition), (start, stop), at_once):
            if found.offset >= stop:
                return
            yield record_of(found)

    async def appended_ms(self, topic: str, partition: int, offset: int) -> int | None:
        """When the first record at `offset` or behind it was appended; None where there is none. Reads nothing else."""
        async for found in self._walk(TopicPartition(topic, partition), (offset, ENDLESS), LOOK_BYTES, only_times=True):
            return int(found.timestamp)
        return None

    async def _walk(
        self, place: TopicPartition, offsets: tuple[int, int], at_once: int, *, only_times: bool = False
    ) -> AsyncIterator[ConsumerRecord]:
        at, stop = offsets
        while at < stop:
            found = await self._fetch(place, at, at_once, only_times=only_times)
            for one in found:
                yield one
            if found.next_fetch_offset <= at:
                return
            at = found.next_fetch_offset

    async def one(self, topic: str, partition: int, offset: int) -> Record | None:
        """The record at just that offset; None where there is none."""
        async for record in self.records(topic, partition, offset, offset + 1):
            return record
        return None

    async def _fetch(self, place: TopicPartition, offset: int, at_once: int, *, only_times: bool) -> PartitionRecords:
        wanted = [(place.topic, [(place.partition, offset, at_once)])]
        request = FetchRequest(_WAIT_MS, 1, at_once, READ_COMMITTED, wanted, rack_id="")
        (response,) = await self._ask(place.topic, [place.partition], lambda _: request)
        return records_of(response, place, offset, only_times=only_times)

    async def _offsets(self, topic: str, partitions: Collection[int], time_ms: int) -> dict[int, int]:
        def request(led: list[int]) -> Request:
            return OffsetRequest(-1, READ_COMMITTED, [(topic, [(one, time_ms) for one in led])])

        answers = await self._ask(topic, partitions, request)
        return {one: offset for answer in answers for one, _, _, offset in answer.topics[0][1]}

    async def _ask(
        self, topic: str, partitions: Collection[int], request: Callable[[list[int]], Request]
    ) -> list[Response]:
        """The answers of those who lead partitions of a topic, each asked for those that it leads.

        Who leads them may have changed since it was looked at last.
        """
        async with asyncio.timeout(ANSWER_SECONDS):
            client = await self._cluster.client()
            for pause in (*_PAUSES, None):
                try:
                    await wait_for_topic(client, topic)
                    led = _by_leader(client, topic, partitions)
                    answers = await asyncio.gather(*(client.send(node, request(ones)) for node, ones in led.items()))
                    _check(answers)
                    return list(answers)
                except KafkaError as error:
                    if pause is None or not (error.invalid_metadata or isinstance(error, NodeNotReadyError)):
                        raise
                await asyncio.sleep(pause)
                await client.force_metadata_update()
        raise AssertionError("the last attempt returns or raises")


def _by_leader(client: AIOKafkaClient, topic: str, partitions: Collection[int]) -> dict[int, list[int]]:
    led, without = partitions_by_leader(client, topic, partitions)
    if without:
        raise LeaderNotAvailableError(f"{topic}/{without[0]}")
    return led


def _check(answers: Collection[Response]) -> None:
    """Of a partition that begins behind an offset, or ends before it, there are just no records."""
    for answer in answers:
        for topic, parts in answer.topics:
            for partition, code, *_ in parts:
                if code not in (0, OffsetOutOfRangeError.errno):
                    raise for_code(code)(f"{topic}/{partition}: error {code}")
