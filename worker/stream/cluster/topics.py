"""Compares the topics of the worker with the settings that they should have."""

from collections.abc import Sequence

from worker.messages.hints import CheckResult
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.topic_settings import ExistingTopic, differences, missing_topics, outlived_ledger


async def check_topics(cluster: Cluster, settings: Settings) -> list[CheckResult]:
    """See `judge_topics`, for all channels. Raises `CLUSTER_ERRORS`."""
    topics = await find_topics(cluster, settings.topics_of_channels)
    return [result for channel in settings.by_commands.values() for result in judge_topics(channel, topics)]


def judge_topics(settings: Settings, topics: dict[str, ExistingTopic]) -> list[CheckResult]:
    """Say which topics of a channel are missing. If all exist, say how they differ from what the worker needs."""
    topics = {name: topics[name] for name in settings.all_topics if name in topics}
    missing = [name for name in settings.all_topics if name not in topics]
    if missing:
        return [missing_topics(missing)]
    commands = topics[settings.topic_commands]
    return [
        *differences(settings, topics, commands.shape.partitions, settings.topic_replication),
        *outlived_ledger(settings, commands),
    ]


async def find_topics(cluster: Cluster, names: Sequence[str]) -> dict[str, ExistingTopic]:
    """Look up topics by name. Those that do not exist are left out. Raises `CLUSTER_ERRORS`."""
    shapes = await cluster.topic_shapes([*names])
    return {name: ExistingTopic(shape, await cluster.topic_settings(name)) for name, shape in shapes.items()}
