"""What topics may be like: what could stop a lane is refused, what is only unusual is told, with what to do."""

from dataclasses import replace

import pytest

from worker.domain.timestamps import DAY_MS
from worker.settings import Settings
from worker.stream.cluster.topic_settings import ExistingTopic, TopicShape, differences, outlived_ledger
from worker.tools.common.wanted_topics import wanted_topics

SETTINGS = Settings()
COMMANDS, CREATED, DEAD = SETTINGS.topic_commands, SETTINGS.topic_created, SETTINGS.dead_letter_topic
_ALSO = {"segment.bytes": "1073741824", "message.timestamp.type": "CreateTime", "min.insync.replicas": "2"}


def _as_made() -> dict[str, ExistingTopic]:
    """As `topics create` makes them on three brokers, with what a broker adds."""
    return {
        one.name: ExistingTopic(TopicShape(one.partitions, 3), {**_ALSO, **one.settings})
        for one in wanted_topics(SETTINGS)
    }


def _with(topic: str, **settings: str) -> dict[str, ExistingTopic]:
    found = _as_made()
    named = {key.replace("_", "."): value for key, value in settings.items()}
    found[topic] = replace(found[topic], settings={**found[topic].settings, **named})
    return found


def _shaped(topic: str, partitions: int = 6, replicas: int = 3) -> dict[str, ExistingTopic]:
    found = _as_made()
    found[topic] = replace(found[topic], shape=TopicShape(partitions, replicas))
    return found


def _told(found: dict[str, ExistingTopic], partitions: int = 6, replicas: int = 1) -> list[tuple[str, bool]]:
    return [(str(one), one.is_fatal) for one in differences(SETTINGS, found, partitions, replicas)]


def _set(topic: str, setting: str) -> str:
    return f"Set it with kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {setting}."


def _raise(topic: str, partitions: int) -> str:
    how = f"kafka-topics.sh --alter --topic {topic} --partitions {partitions}"
    return f"Raise them with {how}; they can never be lowered again."


def test_topics_as_they_were_made_are_fit() -> None:
    """So are larger and longer-lived results, more of their partitions, and what a broker does not tell."""
    assert _told(_as_made()) == []
    assert _told(_with(CREATED, max_message_bytes="4194304", retention_ms="-1")) == []
    assert _told(_with(COMMANDS, retention_ms="-1")) == []
    assert _told(_shaped(CREATED, partitions=12, replicas=1), replicas=1)[1:] == []
    assert _told({name: ExistingTopic(one.shape, {}) for name, one in _as_made().items() if name != COMMANDS}) == []


@pytest.mark.parametrize("topic", [CREATED, DEAD])
def test_every_answer_has_to_fit(topic: str) -> None:
    """An answer may have 2 MiB, and a dead letter is larger than the command that it copies."""
    sentence = (
        f"{topic}: max.message.bytes is 1048576, expected 2097152 or more: an answer that does not fit stops its lane. "
        f"{_set(topic, 'max.message.bytes=2097152')}"
    )
    assert _told(_with(topic, max_message_bytes="1048576")) == [(sentence, True)]
    larger = _told(_with(COMMANDS, max_message_bytes="2097152"))
    assert larger[0] == (
        f"{COMMANDS}: max.message.bytes is 2097152, expected 1048576: result and dead-letter topics have to take more. "
        f"{_set(COMMANDS, 'max.message.bytes=1048576')}",
        False,
    )
    assert [refused for _, refused in larger[1:]] == [True] * 5
    assert f"{topic}: max.message.bytes is 2097152, expected 2162688 or more" in " ".join(one for one, _ in larger)


@pytest.mark.parametrize("topic", [CREATED, DEAD])
def test_every_command_needs_a_partition_of_its_number(topic: str) -> None:
    """That of a result: with fewer, results of two command partitions would share one."""
    assert _told(_shaped(topic, partitions=5)) == [
        (
            f"{topic}: has 5 partitions, expected 6. A result goes to the partition with the same number as its "
            f"command's. {_raise(topic, 6)}",
            True,
        )
    ]


def test_partitions_of_commands_are_raised_last_and_never_lowered() -> None:
    """By the setting for `topics create`; `run` takes them as they are."""
    (few, *others), (many, *rest) = _told(_shaped(COMMANDS, 4)), _told(_shaped(COMMANDS, 8))
    assert few == (
        f"{COMMANDS}: has 4 partitions, expected 6. Result and dead-letter topics come first; then keys move to other "
        f"partitions. {_raise(COMMANDS, 6)}",
        False,
    )
    assert many == (
        f"{COMMANDS}: has 8 partitions, expected 6. Partitions can never be lowered: set PASSPORT_TOPIC_PARTITIONS=8.",
        False,
    )
    assert (others, len(rest)) == ([], 5)
    assert all("has 6 partitions, expected 8" in sentence and refused for sentence, refused in rest)


@pytest.mark.parametrize(
    ("topic", "setting", "value", "expected", "refused"),
    [
        (DEAD, "cleanup.policy", "compact", "delete", True),
        (DEAD, "cleanup.policy", "compact,delete", "delete", True),
        (CREATED, "cleanup.policy", "compact", "delete", False),
        (COMMANDS, "cleanup.policy", "compact", "delete", True),
        (COMMANDS, "compression.type", "producer", "uncompressed", False),
        (COMMANDS, "retention.ms", "60000", "604800000 or more", False),
        (CREATED, "retention.ms", "60000", "604800000 or more", False),
        (CREATED, "segment.bytes", "1048576", "2097152 or more", True),
        (DEAD, "segment.bytes", "1048576", "2097152 or more", True),
        (CREATED, "message.timestamp.type", "CreateTime", "LogAppendTime", False),
        (DEAD, "message.timestamp.type", "CreateTime", "LogAppendTime", False),
    ],
)
def test_a_setting_is_named_with_what_is_expected(
    topic: str, setting: str, value: str, expected: str, refused: bool
) -> None:
    """And with what to do. What brokers do with each was seen on Kafka 4.3: see `test_guards_topics.py`."""
    ((sentence, is_refused),) = _told(_with(topic, **{setting.replace(".", "_"): value}))
    assert sentence.startswith(f"{topic}: {setting} is {value}, expected {expected}: ")
    assert sentence.endswith(_set(topic, f"{setting}={expected.removesuffix(' or more')}"))
    assert is_refused == refused


def test_results_get_the_time_of_the_broker_that_keeps_them() -> None:
    """A worker whose clock is days behind would have its results deleted by retention at once."""
    made = {one.name: one.settings["message.timestamp.type"] for one in wanted_topics(SETTINGS)}
    assert made == dict.fromkeys((COMMANDS, *SETTINGS.answer_topics), "LogAppendTime")


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("message.timestamp.before.max.ms", "0"),
        ("message.timestamp.after.max.ms", "1000"),
        ("message.timestamp.difference.max.ms", "1000"),
    ],
)
def test_clocks_count_only_where_the_producer_sets_the_time(limit: str, value: str) -> None:
    """A broker that sets the append time refuses no time."""
    limits = {limit.replace(".", "_"): value}
    (_, unusual), (sentence, refused) = _told(_with(CREATED, **limits, message_timestamp_type="CreateTime"))
    assert (unusual, refused) == (False, True)
    assert sentence.startswith(f"{CREATED}: {limit} is {value}, expected 60000 or more: ")
    assert sentence.endswith(_set(CREATED, f"{limit}=60000"))
    assert _told(_with(CREATED, **limits)) == []


def test_one_broker_may_be_away() -> None:
    """Where there is more than one."""
    assert _told(_with(CREATED, min_insync_replicas="3")) == [
        (
            f"{CREATED}: min.insync.replicas is 3, expected less than its 3 replicas: one broker that is away stops "
            f"all lanes. {_set(CREATED, 'min.insync.replicas=2')}",
            False,
        )
    ]
    assert [refused for _, refused in _told(_shaped(CREATED, replicas=1), replicas=3)] == [False]


@pytest.mark.parametrize("topic", [COMMANDS, CREATED, DEAD])
def test_an_acknowledged_record_has_two_copies(topic: str) -> None:
    """Where there are three replicas. Kafka's own default is one."""
    assert _told(_with(topic, min_insync_replicas="1")) == [
        (
            f"{topic}: min.insync.replicas is 1, expected 2 or more: one broker may have the only copy of an "
            f"acknowledged record, and lose it. {_set(topic, 'min.insync.replicas=2')}",
            False,
        )
    ]
    made = {one.settings.get("min.insync.replicas") for one in wanted_topics(Settings(topic_replication=3))}
    assert (made, "min.insync.replicas" in wanted_topics(SETTINGS)[0].settings) == ({"2"}, False)


def test_producers_clocks_are_refused_unless_they_are_trusted() -> None:
    """As the contract has it."""
    found = _with(COMMANDS, message_timestamp_type="CreateTime")
    ((sentence, refused),) = _told(found)
    assert refused
    assert sentence.startswith(f"{COMMANDS} has message.timestamp.type=CreateTime, but every rule goes by the append")
    assert differences(Settings(allow_producer_time=True), found, 6) == []


@pytest.mark.parametrize(("retention", "told"), [(f"{8 * DAY_MS}", 0), (f"{8 * DAY_MS + 1}", 1), ("-1", 1)])
def test_commands_that_outlive_the_ledger_are_told_of(retention: str, told: int) -> None:
    """A late replay of them would repeat no result; no worker is kept from starting."""
    commands = ExistingTopic(TopicShape(6, 3), {"retention.ms": retention})
    found = list(outlived_ledger(Settings(retention_days=8), commands))
    assert [(one.id, one.is_fatal) for one in found] == [("topics.retention", False)] * told
