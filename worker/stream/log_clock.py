"""The brokers' clocks, as the command topic's newest records tell them."""

import asyncio
from datetime import UTC, datetime, timedelta

from worker.stream.cluster.connection import Cluster
from worker.stream.group_view import appended_at
from worker.stream.probe import Probe

_MOST_PARTITIONS = 16
"""Their leaders are on all brokers, most likely."""


async def newest_append(cluster: Cluster, topic: str, seconds: float) -> int | None:
    """When the newest record of the command topic was appended, in ms; None where that is longer ago than `seconds`.

    By the brokers' clocks, or the producers' where these are trusted. Raises `CLUSTER_ERRORS`.
    """
    probe, since = Probe(cluster), datetime.now(UTC) - timedelta(seconds=seconds)
    partitions = range((await cluster.partition_counts([topic]))[topic])
    bounds, firsts = await asyncio.gather(probe.bounds(topic, partitions), probe.first_since(topic, partitions, since))
    recent = [one for one in partitions if firsts[one] < bounds[one].end][:_MOST_PARTITIONS]
    found = await appended_at(cluster, topic, {one: bounds[one].end - 1 for one in recent})
    before_markers = {one: max(firsts[one], bounds[one].end - 2) for one in recent if one not in found}
    found |= await appended_at(cluster, topic, before_markers)
    return max(found.values(), default=None)
