"""Finds E for partitions without a committed offset, from the results themselves.

Kafka forgets the offsets of a group without members after `offsets.retention.minutes`, and operators may delete them.
The lower bound in Postgres is not enough: it lags behind, and Postgres may have been restored since.
"""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import structlog
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition

from worker.stream.background import in_own_task
from worker.stream.cluster.leaders import by_topic, name_of
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.log_reader import LogReader
from worker.stream.published import published_ends

log = structlog.get_logger(__name__)

RETRY_SECONDS = 0.5

# How long the results of several partitions are read together, before each partition is read alone.
TOGETHER_SECONDS = 3.0


class Reading(NamedTuple):
    """How far results of a partition were published, by the results of its commands from `start` on.

    `end` is the offset after the newest command that a visible result names; 0 if no result names one. It is None if
    the worker may not read results. Results of commands before `start` may not count.
    """

    start: int
    end: int | None


class Forgotten:
    """Reads results in the background, in one task per leader, so that a silent one delays only its own partitions."""

    def __init__(self, shared: LaneDependencies, consumer: Consumer, wake: asyncio.Event) -> None:
        """`wake` is set when the results of a partition have been read."""
        self._shared, self._consumer, self._wake = shared, consumer, wake
        self._readings: dict[TopicPartition, Reading] = {}
        self._has_news = False
        self._reading: dict[TopicPartition, asyncio.Task[None]] = {}

    def stop(self) -> None:
        """Stop all background work."""
        for task in set(self._reading.values()):
            task.cancel()
        self._reading.clear()

    def forget(self, partition: TopicPartition) -> None:
        """Drop what was read for a partition, since another worker may have published results until now."""
        self._readings.pop(partition, None)
        if (task := self._reading.get(partition)) is not None:
            # The task may read for other partitions, too. They also leave `_reading`, so that `read` starts them again.
            task.cancel()
            self._reading = {at: reading for at, reading in self._reading.items() if reading is not task}

    @property
    def readings(self) -> dict[TopicPartition, Reading]:
        """Everything that has been read so far, by partition."""
        return dict(self._readings)

    def take_news(self) -> bool:
        """Whether more has been read since the last call."""
        news, self._has_news = self._has_news, False
        return news

    def read(self, starts: Mapping[TopicPartition, int]) -> None:
        """Begin to read results of commands from these offsets on, by partition."""
        new = {at: start for at, start in starts.items() if at not in self._reading}
        for led in self._consumer.by_leader(new):
            self._start({at: new[at] for at in led})

    def _start(self, starts: Mapping[TopicPartition, int]) -> None:
        task = asyncio.create_task(self._read(starts), name=f"results of {', '.join(map(name_of, starts))}")
        self._reading |= dict.fromkeys(starts, task)

    async def _read(self, starts: Mapping[TopicPartition, int]) -> None:
        # Reading together is fast, but one result partition that is away delays all. Then each is read alone.
        try:
            async with asyncio.timeout(TOGETHER_SECONDS if len(starts) > 1 else None):
                ends = await in_own_task(read_ends(self._shared, starts))
        except Exception as error:
            log.warning(
                "results_cannot_be_read", partitions=[*map(name_of, starts)], error=f"{type(error).__name__}: {error}"
            )
            await asyncio.sleep(RETRY_SECONDS)
            for partition, start in starts.items():
                self._start({partition: start})
        else:
            for partition, start in starts.items():
                self._readings[partition] = Reading(start, ends[partition])
                self._reading.pop(partition, None)
            self._has_news = True
            self._wake.set()


async def read_ends(shared: LaneDependencies, starts: Mapping[TopicPartition, int]) -> dict[TopicPartition, int | None]:
    """See `Reading.end`. Raises `CLUSTER_ERRORS`, and `ResultsHidden`."""
    ends: dict[TopicPartition, int | None] = {}
    reader = LogReader(shared.cluster)
    for topic, topic_starts in by_topic(starts).items():
        bounds = await reader.bounds(topic, list(topic_starts))
        offsets = {at: max(start, bounds[at].first) for at, start in topic_starts.items()}
        # A partition without a command from its start on has no results to find, and keeps 0.
        since = await reader.appended_at(topic, offsets)
        topic_ends: dict[int, int | None] = dict.fromkeys(topic_starts, 0)
        channel, log_ends = shared.settings.by_commands[topic], {at: log.end for at, log in bounds.items()}
        try:
            topic_ends |= await published_ends(channel, shared.cluster, since, log_ends)
        except TopicAuthorizationFailedError:
            topic_ends |= dict.fromkeys(since, None)
        ends |= {TopicPartition(topic, partition): end for partition, end in topic_ends.items()}
    return ends


def reason_without_offset(applied: int) -> str:
    """Why a lane must not run: Kafka has forgotten its offset, and the worker may not read results."""
    return (
        f"Kafka has no committed offset of the group, and A={applied} (applied in Postgres): the results tell how far "
        "they were published, and this worker may not read them. Allow Read on the result topics"
    )
