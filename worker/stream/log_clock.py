"""The brokers' clocks, as the command topic's newest records tell them."""

from datetime import UTC, datetime, timedelta

from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.group_view import appended_at
from worker.stream.log_reader import log_reader

_MOST_PARTITIONS = 16
"""Their leaders are on all brokers, most likely."""


async def newest_append(settings: Settings, cluster: Cluster, seconds: float) -> int | None:
    """When the newest record of the command topic was appended, in ms; None where that is longer ago than `seconds`.

    By the brokers' clocks, or the producers' where these are trusted. Raises `CLUSTER_ERRORS`.
    """
    topic, since = settings.topic_commands, datetime.now(UTC) - timedelta(seconds=seconds)
    partitions = range((await cluster.partition_counts([topic]))[topic])
    async with log_reader(settings) as logs:
        bounds = await logs.bounds(topic, partitions)
        firsts = await logs.first_since(topic, partitions, since)
    recent = [one for one in partitions if firsts[one] < bounds[one].end][:_MOST_PARTITIONS]
    found = await appended_at(settings, {one: bounds[one].end - 1 for one in recent})
    before_markers = {one: max(firsts[one], bounds[one].end - 2) for one in recent if one not in found}
    found |= await appended_at(settings, before_markers)
    return max(found.values(), default=None)
