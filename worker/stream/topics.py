"""The topics of the worker: what they should be like, making them, and saying where an existing one differs."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog
from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from worker.settings import Settings
from worker.stream.acls import missing_acls
from worker.stream.connection import ANSWER_SECONDS, Cluster, TopicShape

log = structlog.get_logger(__name__)

_WEEK_MS = 7 * 24 * 3600 * 1000
_MINUTE_MS = 60_000
_COMMAND_BYTES = 1024 * 1024
_RESULT_BYTES = 2 * 1024 * 1024
_FRAME_BYTES = 64 * 1024
"""What a dead letter may be larger than the command that it copies."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A topic as it should be. `settings` are topic configurations by name."""

    name: str
    partitions: int
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as it is."""

    shape: TopicShape
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a topic is not as it should be, and what to do; `refused`: it could stop a lane, or break a promise."""

    sentence: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a setting has to be: a text exactly, a number at least, where -1 is without bounds; and what for."""

    key: str
    expected: str | int
    why: str
    refused: bool = False

    def broken_by(self, topic: str, found: Found) -> list[Difference]:
        """Nothing where the broker does not tell."""
        value, or_more = found.settings.get(self.key), ""
        if not value or value == str(self.expected):
            return []
        if isinstance(self.expected, int):
            or_more = " or more"
            if not -1 < int(value) < self.expected:
                return []
        sentence = f"{topic}: {self.key} is {value}, expected {self.expected}{or_more}: {self.why}."
        return [Difference(f"{sentence} {_how_to_set(topic, self.key, self.expected)}", self.refused)]


_COMMAND_RULES = (
    _Rule(
        "compression.type", "uncompressed", "a record may unpack to a dead letter that fits nowhere, and stop its lane"
    ),
    _Rule("max.message.bytes", str(_COMMAND_BYTES), "result and dead-letter topics have to take more"),
    _Rule("retention.ms", _WEEK_MS, "commands that are not answered by then are lost"),
    _Rule("cleanup.policy", "delete", "compaction deletes commands that are not answered yet", refused=True),
)
_CLOCK_LIMITS = ("before", "after", "difference")


def wanted_topics(settings: Settings) -> list[Wanted]:
    """All topics of contract section 1. Results have as many partitions as commands, and room for every answer."""
    command = {
        # The record's append time is "now" for every rule.
        "message.timestamp.type": "LogAppendTime",
        # The broker then applies the size limit to what a consumer has to unpack (guard B9).
        "compression.type": "uncompressed",
        "max.message.bytes": str(_COMMAND_BYTES),
        "retention.ms": str(_WEEK_MS),
        "cleanup.policy": "delete",
    }
    result = {"max.message.bytes": str(_RESULT_BYTES), "retention.ms": str(_WEEK_MS), "cleanup.policy": "delete"}
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
    drift = differences(settings, found, settings.topic_partitions, settings.topic_replication)
    return [one.sentence for one in drift]


async def reason_not_to_start(cluster: Cluster, settings: Settings) -> str | None:
    """Why the worker must not run on these topics, and what to do; None when all is well. Logs what is only unusual."""
    if missing_permissions := await missing_acls(cluster, settings):
        who = f"user {settings.kafka_sasl_username}" if settings.kafka_sasl_username else "this worker"
        return f"Kafka denies {who} {', '.join(map(str, missing_permissions))}. Allow it, with one ACL each."
    names = [one.name for one in wanted_topics(settings)]
    found = await _find(cluster, names)
    missing = [name for name in names if name not in found]
    if missing:
        return f"missing topics: {', '.join(missing)}. Run `passport-worker topics create`."
    drift = differences(settings, found, found[settings.topic_commands].shape.partitions)
    for one in drift:
        if not one.refused:
            log.warning("topic_differs", difference=one.sentence)
    return " ".join(one.sentence for one in drift if one.refused) or None


async def _find(cluster: Cluster, names: Sequence[str]) -> dict[str, Found]:
    """Those that exist."""
    shapes = await cluster.topic_shapes(list(names))
    return {name: Found(shape, await cluster.topic_settings(name)) for name, shape in shapes.items()}


def differences(settings: Settings, found: Mapping[str, Found], partitions: int, replicas: int = 1) -> list[Difference]:
    """Where topics that exist are not as they should be: the command topic with so many partitions, all replicated so.

    Result topics may have more. A setting that the broker does not tell is taken to be right.
    """
    commands = found.get(settings.topic_commands)
    drift: list[Difference] = []
    bytes_needed = _RESULT_BYTES
    if commands is not None:
        drift += _of_commands(settings, commands, partitions)
        partitions = max(partitions, commands.shape.partitions)
        bytes_needed = max(bytes_needed, int(commands.settings.get("max.message.bytes", 0)) + _FRAME_BYTES)
    for name in (*settings.result_topics, settings.dead_letter_topic):
        if name in found:
            drift += _of_results(name, found[name], partitions, bytes_needed, name == settings.dead_letter_topic)
    for name, one in found.items():
        if one.shape.replicas < replicas:
            how = "Add some, with kafka-reassign-partitions.sh."
            drift.append(Difference(f"{name}: has {one.shape.replicas} replicas, expected {replicas} or more. {how}"))
    return drift


def _of_commands(settings: Settings, found: Found, partitions: int) -> Iterator[Difference]:
    name, count, kind = settings.topic_commands, found.shape.partitions, found.settings.get("message.timestamp.type")
    if count < partitions:
        why = "Result and dead-letter topics come first; then keys move to other partitions"
        yield _too_few(found, name, partitions, why, False)
    elif count > partitions:
        advice = f"Partitions can never be lowered: set PASSPORT_TOPIC_PARTITIONS={count}."
        yield Difference(f"{name}: has {count} partitions, expected {partitions}. {advice}")
    if kind != "LogAppendTime" and not settings.allow_producer_time:
        sentence = (
            f"{name} has message.timestamp.type={kind}, but every rule goes by the append time. "
            "Set it to LogAppendTime, or set PASSPORT_ALLOW_PRODUCER_TIME=true to trust the producers' clocks."
        )
        yield Difference(sentence, refused=True)
    for rule in _COMMAND_RULES:
        yield from rule.broken_by(name, found)


def _of_results(name: str, found: Found, partitions: int, bytes_needed: int, dead: bool) -> Iterator[Difference]:
    if found.shape.partitions < partitions:
        why = "A result stands in the partition of the same number as its command"
        yield _too_few(found, name, partitions, why, True)
    rules = [
        _Rule("max.message.bytes", bytes_needed, "an answer that does not fit stops its lane", refused=True),
        _Rule("segment.bytes", bytes_needed, "an answer beyond it stops its lane", refused=True),
        _Rule("retention.ms", _WEEK_MS, "results that are not read by then are lost"),
        _Rule("cleanup.policy", "delete", "a dead letter without a key would stop its lane", refused=True)
        if dead
        else _Rule("cleanup.policy", "delete", "compaction deletes results of the same key"),
    ]
    if found.settings.get("message.timestamp.type") == "CreateTime":
        why = "where clocks differ by more, an answer stops its lane"
        rules += [_Rule(f"message.timestamp.{key}.max.ms", _MINUTE_MS, why, refused=True) for key in _CLOCK_LIMITS]
    for rule in rules:
        yield from rule.broken_by(name, found)
    in_sync, replicas = int(found.settings.get("min.insync.replicas", 1)), found.shape.replicas
    if in_sync >= replicas > 1:
        why = f"one broker that is away stops all lanes. {_how_to_set(name, 'min.insync.replicas', replicas - 1)}"
        yield Difference(f"{name}: min.insync.replicas is {in_sync}, expected less than its {replicas} replicas: {why}")


def _too_few(found: Found, name: str, partitions: int, why: str, refused: bool) -> Difference:
    how = f"kafka-topics.sh --alter --topic {name} --partitions {partitions}"
    sentence = (
        f"{name}: has {found.shape.partitions} partitions, expected {partitions}. {why}. Raise them with {how}; "
        "they can never be lowered again."
    )
    return Difference(sentence, refused)


def _how_to_set(topic: str, key: str, value: str | int) -> str:
    return (
        f"Set it with kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {key}={value}."
    )
