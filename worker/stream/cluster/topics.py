"""Comparing the topics of the worker with what they should be like."""

from collections.abc import Sequence

from worker.messages.hints import CheckResult
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.topic_settings import Found, differences, missing_topics, outlived_ledger


async def check_topics(cluster: Cluster, settings: Settings) -> list[CheckResult]:
    """Each topic that is missing; where all exist, each way in which they are not as they should be.

    Raises `CLUSTER_ERRORS`.
    """
    return judge_topics(settings, await find_topics(cluster, settings.all_topics))


def judge_topics(settings: Settings, found: dict[str, Found]) -> list[CheckResult]:
    """See `check_topics`."""
    missing = [name for name in settings.all_topics if name not in found]
    if missing:
        return [missing_topics(missing)]
    commands = found[settings.topic_commands]
    return [
        *differences(settings, found, commands.shape.partitions, settings.topic_replication),
        *outlived_ledger(settings, commands),
    ]


async def find_topics(cluster: Cluster, names: Sequence[str]) -> dict[str, Found]:
    """Those topics that exist. Raises `CLUSTER_ERRORS`."""
    shapes = await cluster.topic_shapes([*names])
    return {name: Found(shape, await cluster.topic_settings(name)) for name, shape in shapes.items()}
