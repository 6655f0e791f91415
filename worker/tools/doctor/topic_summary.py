"""The check of topics for `doctor`, which also describes topics that are as expected."""

from collections.abc import Mapping

from worker.domain.timestamps import DAY_MS
from worker.messages.hints import CheckResult
from worker.settings import Settings
from worker.stream.cluster import topic_settings as ids
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.topic_settings import ExistingTopic
from worker.stream.cluster.topics import find_topics, judge_topics

_NOT_SENT = "not known from the broker"


async def check_topics_in_full(cluster: Cluster, settings: Settings) -> list[CheckResult]:
    """Say how topics of all channels differ; if all exist, each check has a finding. Raises `CLUSTER_ERRORS`."""
    channels = settings.by_commands.values()
    topics = await find_topics(cluster, settings.topics_of_channels)
    wrong = [result for channel in channels for result in judge_topics(channel, topics)]
    different = {result.id for result in wrong}
    if ids.EXIST in different:
        return wrong
    of_channels = {
        channel.channel: _as_expected(channel, {name: topics[name] for name in channel.all_topics})
        for channel in channels
    }
    texts = {id: _of_channels({name: by_id[id] for name, by_id in of_channels.items()}) for id in ids.TOPIC_IDS[1:]}
    well = {ids.EXIST: f"{len(topics)} topics exist, as expected", **texts}
    return [*wrong, *(CheckResult(id, text, status="ok") for id, text in well.items() if id not in different)]


def _of_channels(texts: Mapping[str, str]) -> str:
    """The texts of channels in one: each text once, with its channels if texts differ."""
    channels: dict[str, list[str]] = {}
    for channel, text in texts.items():
        channels.setdefault(text, []).append(channel or "(default)")
    if len(channels) == 1:
        return next(iter(channels))
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in channels.items())


def _as_expected(settings: Settings, topics: Mapping[str, ExistingTopic]) -> dict[str, str]:
    """A sentence for each check: what the topics have, and what is expected. All topics exist."""
    commands = topics[settings.topic_commands]
    results = [topics[name] for name in settings.answer_topics]
    texts = {key: commands.settings.get(key) or _NOT_SENT for key in ("message.timestamp.type", "compression.type")}
    trusted = " (PASSPORT_ALLOW_PRODUCER_TIME)" if settings.allow_producer_time else ""
    return {
        ids.TIMESTAMP_TYPE: (
            f"commands: {texts['message.timestamp.type']}, results and dead letters: {_types(results)}, "
            f"expected LogAppendTime{trusted}"
        ),
        ids.PARTITIONS: (
            f"commands: {commands.shape.partitions}, results and dead letters: "
            f"{min(topic.shape.partitions for topic in results)} or more, expected at least as many as commands"
        ),
        ids.MESSAGE_SIZE: (
            f"commands: {_least([commands], 'max.message.bytes')} bytes, results and dead letters: "
            f"{_least(results, 'max.message.bytes')} or more, expected room for every answer"
        ),
        ids.COMPRESSION: f"commands: {texts['compression.type']}, expected uncompressed",
        ids.RETENTION: (
            f"commands: {_days(commands)}, expected 7 days or more, and less than the ledger's "
            f"{settings.retention_days} days (PASSPORT_RETENTION_DAYS)"
        ),
        ids.REPLICATION: (
            f"replicas: {min(topic.shape.replicas for topic in topics.values())} or more, expected "
            f"{settings.topic_replication} (PASSPORT_TOPIC_REPLICATION)"
        ),
    }


def _least(topics: list[ExistingTopic], key: str) -> str:
    values = [int(topic.settings[key]) for topic in topics if topic.settings.get(key)]
    return str(min(values)) if values else _NOT_SENT


def _types(topics: list[ExistingTopic]) -> str:
    return ", ".join(sorted({topic.settings.get("message.timestamp.type") or _NOT_SENT for topic in topics}))


def _days(commands: ExistingTopic) -> str:
    value = commands.settings.get("retention.ms")
    if not value:
        return _NOT_SENT
    return "no end" if int(value) < 0 else f"{int(value) / DAY_MS:g} days"
