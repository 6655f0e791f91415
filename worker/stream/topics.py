"""The topics of the worker: what they should be like, making them, and saying where an existing one differs."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from worker.settings import Settings
from worker.stream.acls import missing_acls
from worker.stream.connection import ANSWER_SECONDS, Cluster

_WEEK_MS = str(7 * 24 * 3600 * 1000)
_COMMAND_BYTES = 1024 * 1024
_RESULT_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """A topic as it should be. `settings` are topic configurations by name."""

    name: str
    partitions: int
    settings: Mapping[str, str]


def wanted_topics(settings: Settings) -> list[Wanted]:
    """All topics of contract section 1. Results have as many partitions as commands, and room for every answer."""
    command = {
        # The record's append time is "now" for every rule.
        "message.timestamp.type": "LogAppendTime",
        # The broker then applies the size limit to what a consumer has to unpack (guard B9).
        "compression.type": "uncompressed",
        "max.message.bytes": str(_COMMAND_BYTES),
        "retention.ms": _WEEK_MS,
        "cleanup.policy": "delete",
    }
    result = {"max.message.bytes": str(_RESULT_BYTES), "retention.ms": _WEEK_MS, "cleanup.policy": "delete"}
    count = settings.topic_partitions
    results = [Wanted(name, count, result) for name in (*settings.result_topics, settings.dead_letter_topic)]
    return [Wanted(settings.topic_commands, count, command), *results]


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
    drift: list[str] = []
    by_name = {one.name: one for one in wanted}
    for name, code, *message in response.topic_errors:  # create_topics raises nothing by itself (guard B15)
        error = for_code(code)
        if code == 0:
            created.append(name)
        elif error is TopicAlreadyExistsError:
            drift.extend(await topic_drift(cluster, by_name[name]))
        else:
            raise error(f"topic {name}: {message[0] if message and message[0] else error.__name__}")
    return created, drift


async def topic_drift(cluster: Cluster, wanted: Wanted) -> list[str]:
    """How an existing topic differs from what it should be, a sentence each; nothing is changed."""
    found = await cluster.topic_settings(wanted.name)
    counts = await cluster.partition_counts([wanted.name])
    drift = [
        f"{wanted.name}: {key} is {found.get(key)}, expected {value}"
        for key, value in wanted.settings.items()
        if found.get(key) != value
    ]
    if counts.get(wanted.name) != wanted.partitions:
        drift.append(f"{wanted.name}: has {counts.get(wanted.name)} partitions, expected {wanted.partitions}")
    return drift


async def reason_not_to_start(cluster: Cluster, settings: Settings) -> str | None:
    """Why the worker must not run on these topics, and what to do; None when all is well."""
    if missing_permissions := await missing_acls(cluster, settings):
        who = f"user {settings.kafka_sasl_username}" if settings.kafka_sasl_username else "this worker"
        return f"Kafka denies {who} {', '.join(map(str, missing_permissions))}. Allow it, with one ACL each."
    names = [one.name for one in wanted_topics(settings)]
    counts = await cluster.partition_counts(names)
    missing = [name for name in names if name not in counts]
    if missing:
        return f"missing topics: {', '.join(missing)}. Run `passport-worker topics create`."
    if settings.allow_producer_time:
        return None
    kind = (await cluster.topic_settings(settings.topic_commands)).get("message.timestamp.type")
    if kind != "LogAppendTime":
        return (
            f"{settings.topic_commands} has message.timestamp.type={kind}, but every rule goes by the append time. "
            "Set it to LogAppendTime, or set PASSPORT_ALLOW_PRODUCER_TIME=true to trust the producers' clocks."
        )
    return None
