"""Finds how far results were published, by the results themselves: each names its command."""

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.structs import TopicPartition

from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.messages.events import cause_of
from worker.settings import Settings
from worker.stream.cluster.connection import ANSWER_SECONDS, Cluster
from worker.stream.cluster.leaders import by_topic
from worker.stream.log_reader import LogReader

log = structlog.get_logger(__name__)

# Results have the order of their commands, so the last ones of each topic name the newest commands. Transaction markers
# occupy offsets, too: a turn has one in each partition that it publishes to.
_TAIL_OFFSETS = 200

# Clocks of brokers differ: a result may seem to be appended this much earlier than its command.
CLOCKS_DIFFER = timedelta(hours=1)


class ResultsHidden(Exception):
    """An open transaction hides results, so it is unknown how far they were published."""


async def published_ends(
    settings: Settings, cluster: Cluster, since_ms: Mapping[int, int], log_ends: Mapping[int, int]
) -> dict[int, int]:
    """By partition, the offset after the newest command that a visible result names; 0 if no result names one.

    `since_ms` has, by partition, the append time of the first command whose result matters. Fence all producers of
    these partitions first. Raises `CLUSTER_ERRORS`, also if the worker may not read results, and `ResultsHidden`.
    """
    ends = dict.fromkeys(since_ms, 0)
    committed, uncommitted = LogReader(cluster), LogReader(cluster, committed=False)
    for topic, numbers in (await _result_partitions(settings, cluster, since_ms)).items():
        for number, sources in numbers.items():
            stop = (await uncommitted.bounds(topic, [number]))[number].end
            if (await committed.bounds(topic, [number]))[number].end < stop:
                raise ResultsHidden(f"a transaction is open in {topic}/{number}")
            oldest_ms = min(since_ms[partition] for partition in sources)
            start = (await committed.first_since(topic, [number], before(settings, oldest_ms)))[number]
            async for records in committed.read(topic, number, start, stop):
                for cause in _causes(records, settings.topic_commands, log_ends):
                    if cause.partition in ends:
                        ends[cause.partition] = max(ends[cause.partition], cause.offset + 1)
    return ends


def before(settings: Settings, appended_ms: int) -> datetime:
    """The earliest time at which a log can hold a result of a command that was appended at `appended_ms` or later.

    It is 1970 if producers set the times of commands, since their clocks may be ahead of the brokers'. A topic may hold
    such commands from before it used `LogAppendTime`; a time in the future gives them away.
    """
    is_in_future = appended_ms / 1000 > time.time() + CLOCKS_DIFFER.total_seconds()
    if settings.allow_producer_time or is_in_future:
        appended_ms = 0
    return datetime.fromtimestamp(max(0.0, appended_ms / 1000 - CLOCKS_DIFFER.total_seconds()), UTC)


async def newest_results(
    settings: Settings, cluster: Cluster, log_ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int | None]:
    """The offset of each lane's newest command that has a visible result; None if none is known.

    This only explains why a lane halts, and a worker may lack the right to read results. Errors are logged.
    """
    newest: dict[TopicPartition, int | None] = {}
    for topic, ends in by_topic(log_ends).items():
        offsets = await _newest_of_channel(settings.by_commands[topic], cluster, ends)
        newest |= {TopicPartition(topic, partition): offset for partition, offset in offsets.items()}
    return newest


async def _newest_of_channel(
    settings: Settings, cluster: Cluster, log_ends: Mapping[int, int]
) -> dict[int, int | None]:
    """`newest_results` for the partitions of one channel."""
    newest: dict[int, int | None] = dict.fromkeys(log_ends)
    reader = LogReader(cluster)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            for name, numbers in (await _result_partitions(settings, cluster, log_ends)).items():
                for number, bounds in (await reader.bounds(name, numbers)).items():
                    start = max(bounds.first, bounds.end - _TAIL_OFFSETS)
                    async for records in reader.read(name, number, start, bounds.end):
                        for cause in _causes(records, settings.topic_commands, log_ends):
                            newest[cause.partition] = max(cause.offset, newest[cause.partition] or 0)
    except Exception as error:
        log.warning("results_cannot_be_read", error=f"{type(error).__name__}: {error}")
        return dict.fromkeys(log_ends)
    return newest


async def _result_partitions(
    settings: Settings, cluster: Cluster, partitions: Collection[int]
) -> dict[str, dict[int, list[int]]]:
    """By result topic, its partitions that have results of these command partitions, with those of each."""
    if not partitions:
        return {}
    counts = await cluster.partition_counts(list(settings.result_topics))
    result_partitions: dict[str, dict[int, list[int]]] = {}
    for topic in settings.result_topics:
        # Do not skip a missing topic: results in it would not count, and lanes would publish them again.
        if topic not in counts:
            raise UnknownTopicOrPartitionError(topic)
        sources = result_partitions[topic] = {}
        for partition in sorted(partitions):
            sources.setdefault(partition % counts[topic], []).append(partition)
    return result_partitions


def _causes(results: Sequence[Record], topic: str, log_ends: Mapping[int, int]) -> Iterator[Place]:
    """The commands of a topic that results name, in the partitions of `log_ends`.

    Strangers may have published records, too, which may name anything, such as a command that does not exist yet.
    """
    for result in results:
        cause = cause_of(result.headers)
        if cause is not None and cause.topic == topic and cause.offset < log_ends.get(cause.partition, 0):
            yield cause
