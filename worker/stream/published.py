"""Up to which command results stand in the result topics: Kafka's own word on what was published."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.messages.events import cause_of
from worker.settings import Settings
from worker.stream.cluster.connection import ANSWER_SECONDS, Cluster
from worker.stream.log_reader import LogReader

log = structlog.get_logger(__name__)

_TAIL_OFFSETS = 200
"""Results come in the order of their commands, so the last of each topic tell; markers occupy offsets, too."""
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
    committed, uncommitted = LogReader(cluster), LogReader(cluster, committed=False)
    counts = await cluster.partition_counts(list(settings.result_topics)) if since_ms else {}
    for topic, count in counts.items():
        for number in sorted({partition % count for partition in since_ms}):
            own = [since for partition, since in since_ms.items() if partition % count == number]
            stop = (await uncommitted.bounds(topic, [number]))[number].end
            if (await committed.bounds(topic, [number]))[number].end < stop:
                raise ResultsHidden(f"a transaction is open in {topic}/{number}")
            start = (await committed.first_since(topic, [number], before(min(own))))[number]
            async for records in committed.read(topic, number, start, stop):
                for cause in _causes(records, settings.topic_commands):
                    if cause.partition in ends and cause.offset < log_ends.get(cause.partition, 0):
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
    reader = LogReader(cluster)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            counts = await cluster.partition_counts(list(settings.result_topics))
            for name, count in counts.items():
                numbers = sorted({partition % count for partition in partitions})
                for number, log_bounds in (await reader.bounds(name, numbers)).items():
                    start = max(log_bounds.first, log_bounds.end - _TAIL_OFFSETS)
                    async for records in reader.read(name, number, start, log_bounds.end):
                        for cause in _causes(records, topic):
                            newest[cause.partition] = max(cause.offset, newest.get(cause.partition) or 0)
    except Exception as error:
        log.warning("results_cannot_be_read", error=f"{type(error).__name__}: {error}")
        return dict.fromkeys(partitions)
    return newest


def _causes(results: Sequence[Record], topic: str) -> Iterator[Place]:
    """The commands of a topic that results name; others may have put records among them."""
    for result in results:
        cause = cause_of(result.headers)
        if cause is not None and cause.topic == topic:
            yield cause
