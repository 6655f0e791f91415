"""Reads past results in order of time, from several logs at once."""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from datetime import datetime
from math import inf

from aiokafka.structs import TopicPartition

from worker.domain.timestamps import parse_ms
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.log_reader import LOOK_BYTES, READ_BYTES, LogReader
from worker.tools.common.results import ResultRecord
from worker.tools.tail.line import time_of

MOST_SEARCHED = 200_000
"""`newest` gives up after this many results."""
_WINDOW, _GROWTH = 4, 8
# All logs together have this many bytes in flight.
_BYTES = 32 * 1024 * 1024


def shown_ms(record: ResultRecord) -> int:
    """The time by which results are sorted: that of the command, which is never after that of its result."""
    return min(parse_ms(time_of(record)), record.timestamp_ms)


class PastResults:
    """The results that the logs of a cluster hold at one moment. Methods raise `CLUSTER_ERRORS`."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._reader = LogReader(cluster)
        self._cluster = cluster
        self._kinds = dict(zip(settings.result_topics, Kind, strict=True))
        self._parts: dict[TopicPartition, range] = {}

    @property
    def ends(self) -> dict[TopicPartition, int]:
        """Where the logs ended when `look` was called."""
        return {log: part.stop for log, part in self._parts.items()}

    async def look(self, since: datetime | None) -> None:
        """Note where the logs end, and where results appended at `since` or later begin; None: all results."""
        counts = await self._cluster.partition_counts([*self._kinds])
        for topic, count in counts.items():
            bounds = await self._reader.bounds(topic, range(count))
            starts = None if since is None else await self._reader.first_since(topic, range(count), since)
            for partition, (first, end) in bounds.items():
                start = first if starts is None else min(starts[partition], end)
                self._parts[TopicPartition(topic, partition)] = range(start, end)

    async def all(self, at_once: int) -> AsyncIterator[list[ResultRecord]]:
        """All results, oldest first, in lists of at most `at_once`."""
        chunk = list[ResultRecord]()
        async for _, record in self._merged(self._parts):
            chunk.append(record)
            if len(chunk) == at_once:
                yield chunk
                chunk = []
        yield chunk

    async def newest(self, count: int, wanted: Callable[[ResultRecord], bool]) -> tuple[list[ResultRecord], bool]:
        """The newest `count` wanted results, oldest first, and whether all results were searched that may be newer."""
        window = max(_WINDOW, count)
        while True:
            parts = {log: range(max(part.start, part.stop - window), part.stop) for log, part in self._parts.items()}
            newest, oldest_ms, searched = deque[ResultRecord](maxlen=count), dict[TopicPartition, float](), 0
            async for log, record in self._merged(parts):
                searched += 1
                oldest_ms.setdefault(log, shown_ms(record))
                if wanted(record):
                    newest.append(record)
            last_ms = shown_ms(newest[0]) if len(newest) == count else -inf
            behind = [log for log, part in parts.items() if part.start > self._parts[log].start]
            if all(oldest_ms.get(log, inf) < last_ms for log in behind) or searched >= MOST_SEARCHED:
                return list(newest), searched < MOST_SEARCHED or not behind
            window *= _GROWTH

    async def _merged(
        self, parts: Mapping[TopicPartition, range]
    ) -> AsyncIterator[tuple[TopicPartition, ResultRecord]]:
        """Results of several logs, oldest first. A log's own order stays."""
        logs = [log for log, part in parts.items() if part]
        fetch_bytes = max(LOOK_BYTES, min(READ_BYTES, _BYTES // max(1, len(logs))))
        readings = [self._records(log, parts[log], fetch_bytes) for log in logs]
        firsts = await asyncio.gather(*(anext(reading, None) for reading in readings))
        heads = [(shown_ms(record), at, record) for at, record in enumerate(firsts) if record is not None]
        heapq.heapify(heads)
        try:
            while heads:
                _, at, record = heads[0]
                yield logs[at], record
                if (following := await anext(readings[at], None)) is None:
                    heapq.heappop(heads)
                else:
                    heapq.heapreplace(heads, (shown_ms(following), at, following))
        finally:
            for reading in readings:
                await reading.aclose()

    async def _records(self, log: TopicPartition, part: range, fetch_bytes: int) -> AsyncGenerator[ResultRecord]:
        chunks = self._reader.read(log.topic, log.partition, part.start, part.stop, fetch_bytes=fetch_bytes)
        async for records in chunks:
            for record in records:
                yield ResultRecord(self._kinds[log.topic], *record[:-1])
