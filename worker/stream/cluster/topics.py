"""Making the topics of the worker, and comparing those that exist with what they should be like."""

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from worker.messages.hints import Finding
from worker.settings import Settings
from worker.stream.cluster.connection import ANSWER_SECONDS, Cluster
from worker.stream.cluster.topic_settings import Found, differences, missing_topics, outlived_ledger, wanted_topics
from worker.stream.cluster.topic_summary import as_expected


async def create_topics(cluster: Cluster, settings: Settings) -> tuple[list[str], list[str]]:
    """Create what is missing and compare what exists. Returns the names created, and a sentence for each drift."""
    admin = await cluster.admin()
    wanted = wanted_topics(settings)
    new = [
        NewTopic(one.name, one.partitions, settings.topic_replication, topic_configs=dict(one.settings))
        for one in wanted
    ]
    async with asyncio.timeout(ANSWER_SECONDS):
        response = await admin.create_topics(new)
    created: list[str] = []
    for name, code, *message in response.topic_errors:  # create_topics raises nothing by itself (guard B15)
        error = for_code(code)
        if code == 0:
            created.append(name)
        elif error is not TopicAlreadyExistsError:
            raise error(f"topic {name}: {message[0] if message and message[0] else error.__name__}")
    found = await _find(cluster, [one.name for one in wanted if one.name not in created])
    return created, _drift(settings, found)


async def compare_topics(cluster: Cluster, settings: Settings) -> tuple[list[str], list[str]]:
    """Names of topics that are missing, and a sentence for each drift from what `create_topics` makes."""
    names = [one.name for one in wanted_topics(settings)]
    found = await _find(cluster, names)
    return [name for name in names if name not in found], _drift(settings, found)


def _drift(settings: Settings, found: Mapping[str, Found]) -> list[str]:
    return [str(one) for one in differences(settings, found, settings.topic_partitions, settings.topic_replication)]


async def check_topics(cluster: Cluster, settings: Settings) -> list[Finding]:
    """Those that are missing; where all are there, what is not as it should be, and by id what is."""
    names = [one.name for one in wanted_topics(settings)]
    found = await _find(cluster, names)
    missing = [name for name in names if name not in found]
    if missing:
        return [missing_topics(missing)]
    commands = found[settings.topic_commands]
    wrong = [
        *differences(settings, found, commands.shape.partitions, settings.topic_replication),
        *outlived_ledger(settings, commands),
    ]
    told = {one.id for one in wrong}
    well = as_expected(settings, found).items()
    return [*wrong, *(Finding(id, text, status="ok") for id, text in well if id not in told)]


async def _find(cluster: Cluster, names: Sequence[str]) -> dict[str, Found]:
    """Those that exist."""
    shapes = await cluster.topic_shapes(list(names))
    return {name: Found(shape, await cluster.topic_settings(name)) for name, shape in shapes.items()}
