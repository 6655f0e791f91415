"""Bounds the brokers' clocks, by the append times of the newest commands."""

import time
from collections.abc import Mapping
from math import inf

from worker.store.clocks import NewestRecord
from worker.stream.cluster.connection import Cluster
from worker.stream.log_reader import Bounds, LogReader

# The leaders of this many partitions are very likely on all brokers.
_MAX_PARTITIONS = 16


class LogClock:
    """Looks at a command topic now and then. It bounds the age of a record that was appended since the last look."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._cluster, self._topic = cluster, topic
        self._looked_at = 0.0
        self._ends: Mapping[int, int] = {}

    async def look(self) -> NewestRecord | None:
        """The newest record; None while the topic has no record. Raises `CLUSTER_ERRORS`."""
        began, looked_at, ends = time.monotonic(), self._looked_at, self._ends
        partitions = range((await self._cluster.partition_counts([self._topic]))[self._topic])
        bounds = await LogReader(self._cluster).bounds(self._topic, partitions)
        self._looked_at, self._ends = began, {at: log.end for at, log in bounds.items()}
        grown = {at: Bounds(max(ends[at], log.first), log.end) for at, log in bounds.items() if at in ends}
        if (newest := await newest_append(self._cluster, self._topic, grown)) is not None:
            return NewestRecord(newest / 1000, time.monotonic() - looked_at)
        newest = await newest_append(self._cluster, self._topic, bounds)
        return None if newest is None else NewestRecord(newest / 1000, inf)


async def newest_append(cluster: Cluster, topic: str, parts: Mapping[int, Bounds]) -> int | None:
    """The latest append time (ms) of the last records of these parts of logs; None if all parts are empty."""
    reader = LogReader(cluster)
    filled = [at for at, part in parts.items() if part.first < part.end][:_MAX_PARTITIONS]
    times = await reader.appended_at(topic, {at: parts[at].end - 1 for at in filled})
    # The last offset may be the marker of a transaction, with the newest record right before it.
    before_markers = {at: max(parts[at].first, parts[at].end - 2) for at in filled if at not in times}
    times |= await reader.appended_at(topic, before_markers)
    return max(times.values(), default=None)
