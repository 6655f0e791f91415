"""How far results were published, by the results themselves: they name their commands."""

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

# Results stand in the order of their commands, so the last ones of each topic name the newest commands. Transaction
# markers occupy offsets, too: a turn has one in each partition that it publishes to.
_TAIL_OFFSETS = 200

# Clocks of brokers differ: a result may seem to have been appended this much earlier than its command.
CLOCKS_DIFFER = timedelta(hours=1)


class ResultsHidden(Exception):
    """An open transaction hides results, so nobody can tell how far they were published."""


async def published_ends(
    settings: Settings, cluster: Cluster, since_ms: Mapping[int, int], log_ends: Mapping[int, int]
) -> dict[int, int]:
    """The offset behind the newest command that a visible result names, by partition; 0 where no result names one.

    Reads all results that were appended since `since_ms`, by partition: the append time of the first command whose
    result matters. Call it when no producer can publish for these partitions any more. Raises `CLUSTER_ERRORS`, also
    where the worker may not read results, and `ResultsHidden`.
    """
    ends = dict.fromkeys(since_ms, 0)
    committed, uncommitted = LogReader(cluster), LogReader(cluster, committed=False)
    for topic, numbers in (await _result_partitions(settings, cluster, since_ms)).items():
        for number, own in numbers.items():
            stop = (await uncommitted.bounds(topic, [number]))[number].end
            if (await committed.bounds(topic, [number]))[number].end < stop:
                raise ResultsHidden(f"a transaction is open in {topic}/{number}")
            oldest_ms = min(since_ms[partition] for partition in own)
            start = (await committed.first_since(topic, [number], before(settings, oldest_ms)))[number]
            async for records in committed.read(topic, number, start, stop):
                for cause in _causes(records, settings.topic_commands, log_ends):
                    if cause.partition in ends:
                        ends[cause.partition] = max(ends[cause.partition], cause.offset + 1)
    return ends


def before(settings: Settings, appended_ms: int) -> datetime:
    """The earliest time at which a log can hold a result of a command that was appended at `appended_ms` or later.

    Nobody knows it where producers write the times of commands: their clocks may be ahead of the brokers'. A topic that
    once kept their times still has such commands. A time that is far ahead of now gives them away.
    """
    is_to_come = appended_ms / 1000 > time.time() + CLOCKS_DIFFER.total_seconds()
    if settings.allow_producer_time or is_to_come:
        appended_ms = 0
    return datetime.fromtimestamp(max(0.0, appended_ms / 1000 - CLOCKS_DIFFER.total_seconds()), UTC)


async def newest_results(
    settings: Settings, cluster: Cluster, log_ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int | None]:
    """Offset of the newest command of each lane that has a visible result; None where none is known.

    They only explain why a lane halts: a worker that may not read results does without. Errors are logged.
    """
    newest: dict[TopicPartition, int | None] = {}
    for topic, own in by_topic(log_ends).items():
        offsets = await _newest_of_channel(settings.by_commands[topic], cluster, own)
        newest |= {TopicPartition(topic, partition): offset for partition, offset in offsets.items()}
    return newest


async def _newest_of_channel(
    settings: Settings, cluster: Cluster, log_ends: Mapping[int, int]
) -> dict[int, int | None]:
    """The same for the partitions of one channel."""
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
    """The partitions of each result topic that have results of command partitions, and of which ones."""
    counts = await cluster.partition_counts(list(settings.result_topics)) if partitions else {}
    result_partitions: dict[str, dict[int, list[int]]] = {}
    for topic in settings.result_topics if partitions else ():
        # A topic that was passed over would leave out its results, and lanes would publish them again.
        if topic not in counts:
            raise UnknownTopicOrPartitionError(topic)
        own = result_partitions[topic] = {}
        for partition in sorted(partitions):
            own.setdefault(partition % counts[topic], []).append(partition)
    return result_partitions


def _causes(results: Sequence[Record], topic: str, log_ends: Mapping[int, int]) -> Iterator[Place]:
    """The commands of a topic that results name, of the partitions in `log_ends`.

    Strangers may have put records among them, and anything in headers: a command that does not exist yet, too.
    """
    for result in results:
        cause = cause_of(result.headers)
        if cause is not None and cause.topic == topic and cause.offset < log_ends.get(cause.partition, 0):
            yield cause
