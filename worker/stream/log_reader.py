"""Reads logs outside any group: where they begin and end, single records, and long parts of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import islice, takewhile
from typing import NamedTuple

import stamina
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, UNKNOWN_OFFSET
from aiokafka.errors import KafkaError, LeaderNotAvailableError, NodeNotReadyError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.api import Request, Response
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from worker.messages.envelope import Record
from worker.stream.aiokafka_internals import next_offset, records_of, wait_for_topic
from worker.stream.cluster.connection import ANSWER_SECONDS, Cluster
from worker.stream.cluster.leaders import partitions_by_leader

# The bytes that a fetch asks for, to look at a single record and to read many in a row. A broker sends the first batch
# whole even if it is larger.
LOOK_BYTES = 16 * 1024
READ_BYTES = 1024 * 1024

# Longer lists are slower per record, since they do not stay in the processor's cache.
RECORDS_AT_ONCE = 300

# How long a broker may wait for records: if it may have none, and if it must have some.
_LOOK_MS, _READ_MS = 20, 500

# Kafka accepts these in place of times.
_END, _START = -1, -2


class Bounds(NamedTuple):
    """The first offset of a log, and the offset after its last readable record."""

    first: int
    end: int


class LogReader:
    """Reads any topics over the connections of a `Cluster`. Several tasks may read at once.

    For a reader of committed records, a log ends before the oldest open transaction. Every method raises
    `CLUSTER_ERRORS`. Each answer has to come within `ANSWER_SECONDS`.
    """

    def __init__(self, cluster: Cluster, *, committed: bool = True) -> None:
        self._cluster, self._committed = cluster, committed
        self._isolation = READ_COMMITTED if committed else READ_UNCOMMITTED

    async def bounds(self, topic: str, partitions: Collection[int]) -> dict[int, Bounds]:
        """Where the logs of a topic begin and end now."""
        firsts, ends = await asyncio.gather(*(self._offsets(topic, partitions, time) for time in (_START, _END)))
        return {partition: Bounds(firsts[partition], ends[partition]) for partition in partitions}

    async def first_since(self, topic: str, partitions: Collection[int], time: datetime) -> dict[int, int]:
        """The offset of the first record that was appended at `time` or later, else the end of the log."""
        # Negative times mean something else to Kafka.
        times = (max(0, round(time.timestamp() * 1000)), _END)
        firsts, ends = await asyncio.gather(*(self._offsets(topic, partitions, time) for time in times))
        return {at: ends[at] if firsts[at] == UNKNOWN_OFFSET else firsts[at] for at in partitions}

    async def read(
        self, topic: str, partition: int, start: int, stop: int, *, fetch_bytes: int = READ_BYTES
    ) -> AsyncIterator[list[Record]]:
        """Records at offsets from `start` to below `stop`, in lists, without markers and aborted records.

        `stop` must not be beyond the end of the log. Raises an error unless it has read the whole part.
        """
        log, offset = TopicPartition(topic, partition), start
        ahead: asyncio.Task[Response] | None = None
        try:
            while offset < stop:
                response = await (ahead or self._fetch_some(log, offset, fetch_bytes))
                ahead = None
                records = records_of(response, log, offset, committed=self._committed)
                records = takewhile(lambda record: record.offset < stop, records)
                offset = next_offset(response, offset)
                while chunk := [*islice(records, RECORDS_AT_ONCE)]:
                    yield chunk
                    # Fetch the next part while the caller uses this one, unless the first records were enough.
                    if ahead is None and offset < stop:
                        ahead = asyncio.create_task(self._fetch_some(log, offset, fetch_bytes))
        finally:
            if ahead is not None:
                ahead.cancel()
                ahead.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def record(self, topic: str, partition: int, offset: int) -> Record | None:
        """The record at exactly this offset; None if the log has no record there."""
        log = TopicPartition(topic, partition)
        with suppress(OffsetOutOfRangeError):
            response = await self._fetch(log, offset, LOOK_BYTES, _LOOK_MS)
            for record in records_of(response, log, offset, committed=self._committed):
                return record if record.offset == offset else None
        return None

    async def appended_ms(self, topic: str, partition: int, offset: int) -> int | None:
        """The append time of the first record at `offset` or after it; None if the log has none."""
        log, start = TopicPartition(topic, partition), -1
        with suppress(OffsetOutOfRangeError):
            while start < offset:
                start, response = offset, await self._fetch(log, offset, LOOK_BYTES, _LOOK_MS)
                for record in records_of(response, log, start, committed=self._committed, only_times=True):
                    return int(record.timestamp_ms)
                offset = next_offset(response, start)
        return None

    async def appended_at(self, topic: str, offsets: Mapping[int, int]) -> dict[int, int]:
        """See `appended_ms`, for several partitions. Those without such a record are left out."""
        times = await asyncio.gather(*(self.appended_ms(topic, *at) for at in offsets.items()))
        return {partition: time for partition, time in zip(offsets, times, strict=True) if time is not None}

    async def _fetch_some(self, log: TopicPartition, offset: int, fetch_bytes: int) -> Response:
        """Fetch until an answer has records, or at least markers. The leader may be away for a while."""
        # An empty answer must not end a read: E may depend on the last records.
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                try:
                    response = await self._fetch(log, offset, fetch_bytes, _READ_MS)
                except KafkaError as error:
                    if not _has_moved(error):
                        raise
                    continue
                if next_offset(response, offset) > offset:
                    return response

    async def _fetch(self, log: TopicPartition, offset: int, fetch_bytes: int, wait_ms: int) -> Response:
        wanted = [(log.topic, [(log.partition, offset, fetch_bytes)])]
        request = FetchRequest(wait_ms, 1, fetch_bytes, self._isolation, wanted, rack_id="")
        (response,) = await self._ask(log.topic, [log.partition], lambda _: request)
        return response

    async def _offsets(self, topic: str, partitions: Collection[int], time_ms: int) -> dict[int, int]:
        def request(led: list[int]) -> Request:
            return OffsetRequest(-1, self._isolation, [(topic, [(partition, time_ms) for partition in led])])

        answers = await self._ask(topic, partitions, request)
        return {partition: offset for answer in answers for partition, _, _, offset in answer.topics[0][1]}

    async def _ask(
        self, topic: str, partitions: Collection[int], request: Callable[[list[int]], Request]
    ) -> list[Response]:
        """Ask each leader about its own partitions of a topic. Finds leaders that have moved, and tries again."""
        async with asyncio.timeout(ANSWER_SECONDS):
            client = await self._cluster.client()
            async for attempt in stamina.retry_context(
                on=_has_moved, attempts=5, timeout=None, wait_initial=0.1, wait_max=1.0, wait_jitter=0, wait_exp_base=3
            ):
                with attempt:
                    if attempt.num > 1:
                        await client.force_metadata_update()
                    await wait_for_topic(client, topic)
                    led = _by_leader(client, topic, partitions)
                    sent = (client.send(node, request(numbers)) for node, numbers in led.items())
                    answers = await asyncio.gather(*sent)
                    _check(answers)
                    return list(answers)
        raise AssertionError("stamina returns or raises")


def _has_moved(error: Exception) -> bool:
    """Whether another broker leads the partition now, or soon will."""
    return isinstance(error, KafkaError) and (error.invalid_metadata or isinstance(error, NodeNotReadyError))


def _by_leader(client: AIOKafkaClient, topic: str, partitions: Collection[int]) -> dict[int, list[int]]:
    led, without = partitions_by_leader(client, [TopicPartition(topic, partition) for partition in partitions])
    if without:
        raise LeaderNotAvailableError(f"{topic}/{without[0].partition}")
    return {node: [partition for _, partition in partitions] for node, partitions in led.items()}


def _check(answers: Collection[Response]) -> None:
    for answer in answers:
        for topic, parts in answer.topics:
            for partition, code, *_ in parts:
                if code:
                    raise for_code(code)(f"{topic}/{partition}: error {code}")
