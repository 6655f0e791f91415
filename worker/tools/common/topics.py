"""Creates the topics of the worker, and compares topics that exist with the ones that it would create."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiokafka.errors import TopicAlreadyExistsError, for_code
from aiokafka.protocol.admin import CreateTopicsRequest

from worker.settings import Settings
from worker.stream.cluster.connection import ANSWER_SECONDS, Cluster
from worker.stream.cluster.topic_settings import ExistingTopic, differences
from worker.stream.cluster.topics import find_topics
from worker.tools.common.wanted_topics import wanted_topics


async def create_topics(cluster: Cluster, settings: Settings) -> tuple[list[str], list[str]]:
    """Create missing topics of all channels and compare the others.

    Returns the names created, and a sentence for each difference.
    """
    channels = settings.by_commands.values()
    existing = await cluster.partition_counts([channel.topic_commands for channel in channels])
    wanted = [
        topic for channel in channels for topic in wanted_topics(channel, existing.get(channel.topic_commands, 0))
    ]
    replication = settings.topic_replication
    new: list[Any] = [(topic.name, topic.partitions, replication, [], [*topic.settings.items()]) for topic in wanted]
    request = CreateTopicsRequest(new, int(ANSWER_SECONDS * 1000), False)
    client = await cluster.client()
    async with asyncio.timeout(ANSWER_SECONDS):
        response = await client.send(client.cluster.controller.nodeId, request)
    created: list[str] = []
    for name, code, *message in response.topic_errors:  # nothing else reads the codes (guard B15)
        error = for_code(code)
        if code == 0:
            created.append(name)
        elif error is not TopicAlreadyExistsError:
            raise error(f"topic {name}: {message[0] if message and message[0] else error.__name__}")
    # New topics need no comparison, and a broker may not know them yet.
    topics = await find_topics(cluster, [topic.name for topic in wanted if topic.name not in created])
    # A worker that started before a broker knows the new ones would miss them.
    with suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            while created and len(await cluster.partition_counts(created)) < len(created):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    return created, _drift(settings, topics)


async def compare_topics(cluster: Cluster, settings: Settings) -> tuple[list[str], list[str]]:
    """The names of missing topics, and a sentence for each difference of the others."""
    names = settings.topics_of_channels
    topics = await find_topics(cluster, names)
    return [name for name in names if name not in topics], _drift(settings, topics)


def _drift(settings: Settings, topics: Mapping[str, ExistingTopic]) -> list[str]:
    drift = list[str]()
    for channel in settings.by_commands.values():
        existing = {name: topic for name, topic in topics.items() if name in channel.all_topics}
        partitions = settings.topic_partitions
        if channel.channel and (commands := existing.get(channel.topic_commands)):
            partitions = commands.shape.partitions  # the setting is for the default channel; others may differ
        drift += map(str, differences(channel, existing, partitions, settings.topic_replication))
    return drift
