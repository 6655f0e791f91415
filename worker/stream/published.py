"""Up to which command results stand in the result topics: Kafka's own word on what was published."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from worker.messages.events import cause_of
from worker.settings import Settings
from worker.stream.cluster.connection import ANSWER_SECONDS, Cluster, client_options, close_within
from worker.stream.log_reader import log_reader

log = structlog.get_logger(__name__)

_TAIL_OFFSETS = 200
"""Results come in the order of their commands, so the last of each topic tell; markers occupy offsets, too."""
_POLL_MS = 500
CLOCKS_DIFFER = timedelta(hours=1)
"""How much earlier than its command a result may seem to have been appended."""


class ResultsHidden(Exception):
    """A transaction that is open hides results behind it, so that nobody can tell how far they go."""


async def published_ends(
    settings: Settings, cluster: Cluster, since_ms: Mapping[int, int], log_ends: Mapping[int, int]
) -> dict[int, int]:
    """One past the newest command of each partition that a visible result names, 0 where no result does.

    Reads all results that were appended since `since_ms`, by partition: the append time of the first command whose
    result matters. A forged result may name a command at or beyond the end of the log of commands (`log_ends`): it is
    left out. Call it when no producer may publish for these partitions any more. Raises `CLUSTER_ERRORS`, also
    where results may not be read, and `ResultsHidden`.
    """
    ends = dict.fromkeys(since_ms, 0)
    if not since_ms:
        return ends
    counts = await cluster.partition_counts(list(settings.result_topics))
    async with log_reader(settings) as reader, log_reader(settings, "read_uncommitted") as uncommitted:
        for topic in settings.result_topics:
            for number in sorted({partition % counts[topic] for partition in since_ms}):
                own = [since for partition, since in since_ms.items() if partition % counts[topic] == number]
                stop = (await uncommitted.bounds(topic, [number]))[number].end
                if (await reader.bounds(topic, [number]))[number].end < stop:
                    raise ResultsHidden(f"a transaction is open in {topic}/{number}")
                start = (await reader.first_since(topic, [number], before(min(own))))[number]
                reader.assign({(topic, number): start})
                async for records in reader.read(topic, number, start, stop):
                    for record in records:
                        cause = cause_of(record.headers)
                        if cause is None or cause.topic != settings.topic_commands or cause.partition not in ends:
                            continue
                        if cause.offset < log_ends.get(cause.partition, 0):
                            ends[cause.partition] = max(ends[cause.partition], cause.offset + 1)
    return ends


def before(appended_ms: int) -> datetime:
    """The earliest time at which a log can hold a result of a command that was appended at `appended_ms` or later."""
    return datetime.fromtimestamp(max(0.0, appended_ms / 1000 - CLOCKS_DIFFER.total_seconds()), UTC)


async def newest_results(
    settings: Settings, cluster: Cluster, topic: str, partitions: Collection[int]
) -> dict[int, int | None]:
    """Offset of the newest command of each partition that has a visible result.

    None where no result of it is there, and where none can be seen: the worker needs *Read* on the result topics for
    this alone, and may do without.
    """
    newest: dict[int, int | None] = dict.fromkeys(partitions)
    if not partitions:
        return newest
    try:
        counts = await cluster.partition_counts(list(settings.result_topics))
        places = {
            TopicPartition(one, partition % counts[one]) for one in settings.result_topics for partition in partitions
        }
        return newest | await _read(settings, sorted(places), topic)
    except Exception as error:
        log.warning("results_cannot_be_read", error=f"{type(error).__name__}: {error}")
        return newest


async def _read(settings: Settings, places: list[TopicPartition], topic: str) -> dict[int, int]:
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await consumer.start()
            consumer.assign(places)
            return await _newest(consumer, places, topic)
    finally:
        await close_within(consumer.stop(), 1.0)


async def _newest(consumer: AIOKafkaConsumer, places: list[TopicPartition], topic: str) -> dict[int, int]:
    newest: dict[int, int] = {}
    starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    for place in places:
        consumer.seek(place, max(starts[place], ends[place] - _TAIL_OFFSETS))
    left = {place for place in places if starts[place] < ends[place]}
    while left:
        for records in (await consumer.getmany(*left, timeout_ms=_POLL_MS)).values():
            for record in records:
                cause = cause_of(record.headers)
                if cause is not None and cause.topic == topic:
                    newest[cause.partition] = max(cause.offset, newest.get(cause.partition, 0))
        left = {place for place in left if await consumer.position(place) < ends[place]}
    return newest
