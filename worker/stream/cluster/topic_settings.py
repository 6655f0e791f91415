"""The settings that topics should have, and how topics differ from them. Pure: does not ask Kafka."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from worker.domain.timestamps import DAY_MS
from worker.messages.hints import CheckResult, Status
from worker.settings import Settings

WEEK_MS = 7 * 24 * 3600 * 1000
_MINUTE_MS = 60_000
COMMAND_BYTES = 1024 * 1024
RESULT_BYTES = 2 * 1024 * 1024

# How much larger a dead letter may be than the command that it copies.
_FRAME_BYTES = 64 * 1024

# The ids of checks of topics.
EXIST, TIMESTAMP_TYPE = "topics.exist", "topics.timestamp-type"
PARTITIONS, MESSAGE_SIZE = "topics.partitions", "topics.message-size"
COMPRESSION, RETENTION, REPLICATION = "topics.compression", "topics.retention", "topics.replication"
TOPIC_IDS = (EXIST, TIMESTAMP_TYPE, PARTITIONS, MESSAGE_SIZE, COMPRESSION, RETENTION, REPLICATION)


@dataclass(frozen=True, slots=True)
class TopicShape:
    """How many partitions a topic has, and the fewest replicas that one of them has."""

    partitions: int
    replicas: int


@dataclass(frozen=True, slots=True)
class ExistingTopic:
    """A topic that exists."""

    shape: TopicShape
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Rule:
    """An expected setting and the reason. A text has to be equal, a number at least as large; -1 means no limit."""

    id: str
    key: str
    expected: str | int
    why: str
    status: Status = "warning"

    def broken_by(self, name: str, topic: ExistingTopic) -> list[CheckResult]:
        """Compare a topic with the rule. A setting that the broker does not send breaks no rule."""
        value, or_more = topic.settings.get(self.key), ""
        if not value or value == str(self.expected):
            return []
        if isinstance(self.expected, int):
            or_more = " or more"
            if not -1 < int(value) < self.expected:
                return []
        text = f"{name}: {self.key} is {value}, expected {self.expected}{or_more}: {self.why}"
        return [CheckResult(self.id, text, _how_to_set(name, self.key, self.expected), self.status)]


_COMMAND_RULES = (
    _Rule(
        COMPRESSION,
        "compression.type",
        "uncompressed",
        "a record may unpack to a dead letter that fits nowhere, and stop its lane",
    ),
    _Rule(MESSAGE_SIZE, "max.message.bytes", str(COMMAND_BYTES), "result and dead-letter topics have to take more"),
    _Rule(RETENTION, "retention.ms", WEEK_MS, "commands that are not answered by then are lost"),
    _Rule(
        RETENTION, "cleanup.policy", "delete", "compaction deletes commands that are not answered yet", status="failed"
    ),
)
_DURABLE = _Rule(
    REPLICATION, "min.insync.replicas", 2, "one broker may have the only copy of an acknowledged record, and lose it"
)
_CLOCK_LIMITS = ("before", "after", "difference")


def missing_topics(names: Sequence[str]) -> CheckResult:
    """The failed check for topics that do not exist."""
    return CheckResult(EXIST, f"missing topics: {', '.join(names)}", "Run `passport-worker topics create`.")


def differences(
    settings: Settings, topics: Mapping[str, ExistingTopic], partitions: int, replicas: int = 1
) -> list[CheckResult]:
    """Say how topics differ from what the worker needs. Skips topics that do not exist.

    The command topic should have `partitions`, result topics at least as many, and each partition `replicas`.
    """
    commands = topics.get(settings.topic_commands)
    drift: list[CheckResult] = []
    bytes_needed = RESULT_BYTES
    if commands is not None:
        drift += _of_commands(settings, commands, partitions)
        partitions = max(partitions, commands.shape.partitions)
        bytes_needed = max(bytes_needed, int(commands.settings.get("max.message.bytes", 0)) + _FRAME_BYTES)
    for name in settings.answer_topics:
        if name in topics:
            drift += _of_results(name, topics[name], partitions, bytes_needed, name == settings.dead_letter_topic)
    for name, topic in topics.items():
        if topic.shape.replicas > 2:
            drift += _DURABLE.broken_by(name, topic)
        if topic.shape.replicas < replicas:
            text = f"{name}: has {topic.shape.replicas} replicas, expected {replicas} or more"
            drift.append(
                CheckResult(REPLICATION, text, "Add some, with kafka-reassign-partitions.sh.", status="warning")
            )
    return drift


def shortest_retention(topics: Iterable[ExistingTopic]) -> float:
    """For how many seconds every topic keeps its records; infinite if none has a limit."""
    times = (int(topic.settings.get("retention.ms") or -1) for topic in topics)
    return min((ms / 1000 for ms in times if ms >= 0), default=inf)


def outlived_ledger(settings: Settings, commands: ExistingTopic) -> Iterator[CheckResult]:
    """Warn if commands live longer than the ledger: a late replay could not repeat their results."""
    retention_ms = int(commands.settings.get("retention.ms", "0"))
    if not 0 <= retention_ms <= settings.retention_days * DAY_MS:
        days = f"the ledger keeps {settings.retention_days} days"
        text = f"{settings.topic_commands}: retention.ms is {retention_ms}, but {days}"
        advice = "Raise PASSPORT_RETENTION_DAYS, or a late replay repeats no result."
        yield CheckResult(RETENTION, text, advice, status="warning")


def _of_commands(settings: Settings, topic: ExistingTopic, partitions: int) -> Iterator[CheckResult]:
    name, count, kind = settings.topic_commands, topic.shape.partitions, topic.settings.get("message.timestamp.type")
    if count < partitions:
        why = "Result and dead-letter topics come first; then keys move to other partitions"
        yield _too_few(topic, name, partitions, why, "warning")
    elif count > partitions:
        advice = f"Partitions can never be lowered: set PASSPORT_TOPIC_PARTITIONS={count}."
        yield CheckResult(
            PARTITIONS, f"{name}: has {count} partitions, expected {partitions}", advice, status="warning"
        )
    if kind != "LogAppendTime" and not settings.allow_producer_time:
        yield CheckResult(
            TIMESTAMP_TYPE,
            f"{name} has message.timestamp.type={kind}, but every rule goes by the append time",
            "Set it to LogAppendTime, or set PASSPORT_ALLOW_PRODUCER_TIME=true to trust the producers' clocks.",
        )
    for rule in _COMMAND_RULES:
        yield from rule.broken_by(name, topic)


def _of_results(
    name: str, topic: ExistingTopic, partitions: int, bytes_needed: int, dead: bool
) -> Iterator[CheckResult]:
    if topic.shape.partitions < partitions:
        why = "A result goes to the partition with the same number as its command's"
        yield _too_few(topic, name, partitions, why, "failed")
    rules = [
        _Rule(
            MESSAGE_SIZE,
            "max.message.bytes",
            bytes_needed,
            "an answer that does not fit stops its lane",
            status="failed",
        ),
        _Rule(MESSAGE_SIZE, "segment.bytes", bytes_needed, "an answer beyond it stops its lane", status="failed"),
        _Rule(
            TIMESTAMP_TYPE,
            "message.timestamp.type",
            "LogAppendTime",
            "where the clock of a worker is behind, its results are deleted too early",
        ),
        _Rule(RETENTION, "retention.ms", WEEK_MS, "results that are not read by then are lost"),
        _Rule(RETENTION, "cleanup.policy", "delete", "a dead letter without a key would stop its lane", status="failed")
        if dead
        else _Rule(RETENTION, "cleanup.policy", "delete", "compaction deletes results of the same key"),
    ]
    if topic.settings.get("message.timestamp.type") == "CreateTime":
        why = "where clocks differ by more, an answer stops its lane"
        rules += [
            _Rule(TIMESTAMP_TYPE, f"message.timestamp.{key}.max.ms", _MINUTE_MS, why, status="failed")
            for key in _CLOCK_LIMITS
        ]
    for rule in rules:
        yield from rule.broken_by(name, topic)
    in_sync, replicas = int(topic.settings.get("min.insync.replicas", 1)), topic.shape.replicas
    if in_sync >= replicas > 1:
        why = f"expected less than its {replicas} replicas: one broker that is away stops all lanes"
        advice = _how_to_set(name, "min.insync.replicas", replicas - 1)
        yield CheckResult(REPLICATION, f"{name}: min.insync.replicas is {in_sync}, {why}", advice, status="warning")


def _too_few(topic: ExistingTopic, name: str, partitions: int, why: str, status: Status) -> CheckResult:
    how = f"kafka-topics.sh --alter --topic {name} --partitions {partitions}"
    text = f"{name}: has {topic.shape.partitions} partitions, expected {partitions}. {why}"
    return CheckResult(PARTITIONS, text, f"Raise them with {how}; they can never be lowered again.", status)


def _how_to_set(topic: str, key: str, value: str | int) -> str:
    return (
        f"Set it with kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {key}={value}."
    )
