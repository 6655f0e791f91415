"""The check of topics, which says of topics that are well, too, what they are like."""

from collections.abc import Mapping

from worker.domain.timestamps import DAY_MS
from worker.messages.hints import CheckResult
from worker.settings import Settings
from worker.stream.cluster import topic_settings as ids
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.topic_settings import Found
from worker.stream.cluster.topics import find_topics, judge_topics

_UNTOLD = "not told by the broker"


async def check_topics_in_full(cluster: Cluster, settings: Settings) -> list[CheckResult]:
    """What is wrong with the topics; where all exist, a finding for each id. Raises `CLUSTER_ERRORS`."""
    found = await find_topics(cluster, settings.all_topics)
    wrong = judge_topics(settings, found)
    told = {finding.id for finding in wrong}
    if ids.EXIST in told:
        return wrong
    well = _as_expected(settings, found).items()
    return [*wrong, *(CheckResult(id, text, status="ok") for id, text in well if id not in told)]


def _as_expected(settings: Settings, found: Mapping[str, Found]) -> dict[str, str]:
    """By the id of each check of topics, what it found and had expected. All topics are there."""
    commands = found[settings.topic_commands]
    results = [found[name] for name in settings.answer_topics]
    said = {key: commands.settings.get(key) or _UNTOLD for key in ("message.timestamp.type", "compression.type")}
    trusted = " (PASSPORT_ALLOW_PRODUCER_TIME)" if settings.allow_producer_time else ""
    return {
        ids.EXIST: f"{len(found)} topics are there, as expected",
        ids.TIMESTAMP_TYPE: (
            f"commands: {said['message.timestamp.type']}, results and dead letters: {_types(results)}, "
            f"expected LogAppendTime{trusted}"
        ),
        ids.PARTITIONS: (
            f"commands: {commands.shape.partitions}, results and dead letters: "
            f"{min(one.shape.partitions for one in results)} or more, expected at least as many as commands"
        ),
        ids.MESSAGE_SIZE: (
            f"commands: {_least([commands], 'max.message.bytes')} bytes, results and dead letters: "
            f"{_least(results, 'max.message.bytes')} or more, expected room for every answer"
        ),
        ids.COMPRESSION: f"commands: {said['compression.type']}, expected uncompressed",
        ids.RETENTION: (
            f"commands: {_days(commands)}, expected 7 days or more, and less than the ledger's "
            f"{settings.retention_days} days (PASSPORT_RETENTION_DAYS)"
        ),
        ids.REPLICATION: (
            f"replicas: {min(one.shape.replicas for one in found.values())} or more, expected "
            f"{settings.topic_replication} (PASSPORT_TOPIC_REPLICATION)"
        ),
    }


def _least(topics: list[Found], key: str) -> str:
    values = [int(one.settings[key]) for one in topics if one.settings.get(key)]
    return str(min(values)) if values else _UNTOLD


def _types(topics: list[Found]) -> str:
    return ", ".join(sorted({one.settings.get("message.timestamp.type") or _UNTOLD for one in topics}))


def _days(commands: Found) -> str:
    value = commands.settings.get("retention.ms")
    if not value:
        return _UNTOLD
    return "no end" if int(value) < 0 else f"{int(value) / DAY_MS:g} days"
