"""The brokers' clocks, as the command topic's newest records tell them."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import inf

from worker.store.clocks import NewestRecord
from worker.stream.cluster.connection import Cluster
from worker.stream.log_reader import Bounds, LogReader

_MOST_PARTITIONS = 16
"""Their leaders are on all brokers, most likely."""


async def newest_append(cluster: Cluster, topic: str, seconds: float) -> int | None:
    """When the newest record of the command topic was appended, in ms; None where that is longer ago than `seconds`.

    By the brokers' clocks, or the producers' where these are trusted. Raises `CLUSTER_ERRORS`.
    """
    reader, since = LogReader(cluster), datetime.now(UTC) - timedelta(seconds=seconds)
    partitions = range((await cluster.partition_counts([topic]))[topic])
    bounds, firsts = await asyncio.gather(
        reader.bounds(topic, partitions), reader.first_since(topic, partitions, since)
    )
    return await _newest(cluster, topic, {at: Bounds(firsts[at], bounds[at].end) for at in partitions})


class LogClock:
    """Looks at the command topic now and then. A record that was appended since the look before has a known age."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._cluster, self._topic = cluster, topic
        self._looked_at = 0.0
        self._ends: Mapping[int, int] = {}

    async def look(self) -> NewestRecord | None:
        """The newest record; None while the topic has none. Raises `CLUSTER_ERRORS`."""
        began, looked_at, ends = time.monotonic(), self._looked_at, self._ends
        partitions = range((await self._cluster.partition_counts([self._topic]))[self._topic])
        bounds = await LogReader(self._cluster).bounds(self._topic, partitions)
        self._looked_at, self._ends = began, {at: log.end for at, log in bounds.items()}
        grown = {at: Bounds(max(ends[at], log.first), log.end) for at, log in bounds.items() if at in ends}
        if (newest := await _newest(self._cluster, self._topic, grown)) is not None:
            return NewestRecord(newest / 1000, time.monotonic() - looked_at)
        newest = await _newest(self._cluster, self._topic, bounds)
        return None if newest is None else NewestRecord(newest / 1000, inf)


async def _newest(cluster: Cluster, topic: str, parts: Mapping[int, Bounds]) -> int | None:
    """When the newest of the last records of these parts of logs was appended, in ms; empty parts have none."""
    filled = [at for at, part in parts.items() if part.first < part.end][:_MOST_PARTITIONS]
    found = await LogReader(cluster).appended_at(topic, {at: parts[at].end - 1 for at in filled})
    before_markers = {at: max(parts[at].first, parts[at].end - 2) for at in filled if at not in found}
    found |= await LogReader(cluster).appended_at(topic, before_markers)
    return max(found.values(), default=None)
