"""The topics that `topics create` makes."""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.settings import Settings
from worker.stream.cluster.topic_settings import COMMAND_BYTES, RESULT_BYTES, WEEK_MS


@dataclass(frozen=True, slots=True)
class Wanted:
    """A topic as it should be. `settings` are topic configurations by name."""

    name: str
    partitions: int
    settings: Mapping[str, str]


def wanted_topics(settings: Settings, existing: int = 0) -> list[Wanted]:
    """All topics. Result topics have as many partitions as the command topic, and room for every answer.

    `existing` is the number of partitions of a command topic that exists already, whatever the setting says.
    """
    common = {"retention.ms": str(WEEK_MS), "cleanup.policy": "delete"}
    if settings.topic_replication > 2:
        common["min.insync.replicas"] = "2"  # an acknowledged record has two copies, and one broker may be away
    command = {
        # The record's append time is "now" for every rule.
        "message.timestamp.type": "LogAppendTime",
        # The broker then applies the size limit to what a consumer has to unpack (guard B9).
        "compression.type": "uncompressed",
        "max.message.bytes": str(COMMAND_BYTES),
        **common,
    }
    result = {
        # Retention counts from the timestamp: results of a worker whose clock is days behind would be deleted at once.
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(RESULT_BYTES),
        **common,
    }
    count = settings.topic_partitions
    results = [Wanted(name, max(count, existing), result) for name in settings.answer_topics]
    return [Wanted(settings.topic_commands, count, command), *results]
