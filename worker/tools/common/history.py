"""What happened to the commands of one lane, as Kafka has it: windows of commands, and the records that name them."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from worker.messages.envelope import Record
from worker.messages.events import cause_of
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.log_reader import LogReader
from worker.tools.common.merge import CauseLog, Named
from worker.tools.common.result_record import letter_cause

NAMED_TO_THE_END = 2**62
"""What `History.named` is asked for by who wants all that the logs have."""


@dataclass(frozen=True, slots=True)
class Window:
    """Some commands in order, and the offsets that they stand for: from `start` to below `stop`."""

    start: int
    stop: int
    commands: list[Record]


Stray = Callable[[Kind | None, Record, int | None], None]
"""Told of records of the log of a kind that name no command of a history: an offset behind it, or None."""


@dataclass(slots=True)
class NamingLog:
    """A log of results or dead letters: where it is, up to where it is read, and whether it lacks what was in front."""

    place: tuple[str, int]
    end: int
    has_dropped: bool
    causes: CauseLog


class History:
    """Commands of one partition at offsets from `start` to below `stop`, and the logs that answer them, by kind.

    None stands for dead letters.
    """

    def __init__(
        self,
        place: tuple[str, int],
        offsets: tuple[int, int],
        reader: LogReader,
        logs: Mapping[Kind | None, NamingLog],
    ) -> None:
        """`place` is topic and partition of the commands."""
        self.topic, self.partition = place
        self.start, self.stop = offsets
        self.logs = logs
        self._reader = reader

    async def windows(self) -> AsyncIterator[Window]:
        """One after the other, without a gap; after each, `named` has what belongs to it."""
        at, held = self.start, list[Record]()
        async for commands in self._reader.read(self.topic, self.partition, self.start, self.stop):
            if held:
                yield Window(at, held[-1].offset + 1, held)
                at = held[-1].offset + 1
            held = commands
        if at < self.stop:
            yield Window(at, self.stop, held)

    async def named(self, stop: int) -> AsyncIterator[tuple[Kind | None, list[Named]]]:
        """What names commands below `stop`, log by log; repeats may name any command before.

        Up to the end of the history, what names commands behind it is stray.
        """
        for kind, log in self.logs.items():
            async for found in log.causes.until(stop, max(stop, self.stop)):
                yield kind, found

    def tell(self, stray: Stray) -> None:
        """From now on `stray` is told of records that name none of these commands, nor one before them."""
        for kind, log in self.logs.items():
            log.causes.stray = partial(stray, kind)

    async def look_again(self) -> None:
        """From now on `named` goes on to where the logs end now."""
        for log in self.logs.values():
            topic, partition = log.place
            end = (await self._reader.bounds(topic, [partition]))[partition].end
            log.causes.go_on(self._reader.read(topic, partition, log.end, end))
            log.end = end


@dataclass(frozen=True, slots=True)
class Topics:
    """Where results and dead letters of a partition go, for as many partitions as each topic has, commands' too."""

    settings: Settings
    counts: Mapping[str, int]

    def place(self, kind: Kind | None, partition: int) -> tuple[str, int]:
        """Topic and partition; None stands for dead letters."""
        topic = self.settings.dead_letter_topic if kind is None else self.settings.result_topics[kind - 1]
        return topic, partition % self.counts[topic]


async def topics_of(settings: Settings, cluster: Cluster) -> Topics:
    """As the cluster has them. Raises `CLUSTER_ERRORS`."""
    return Topics(settings, await cluster.partition_counts([settings.topic_commands, *settings.answer_topics]))


LOGS: tuple[Kind | None, ...] = (*Kind, None)
"""None stands for dead letters."""


async def history(
    reader: LogReader,
    topics: Topics,
    partition: int,
    offsets: tuple[int, int],
    since: datetime,
) -> History:
    """Read one lane's commands at `offsets` (start, stop), and the logs from `since` to where they end now.

    Raises `CLUSTER_ERRORS`, here and while it is read.
    """
    commands = topics.settings.topic_commands
    logs = dict[Kind | None, NamingLog]()
    for kind in LOGS:
        topic, number = place = topics.place(kind, partition)
        bounds = (await reader.bounds(topic, [number]))[number]
        begin = (await reader.first_since(topic, [number], since))[number]
        cause = cause_reader(topics.settings, partition, kind)
        causes = CauseLog(reader.read(topic, number, begin, bounds.end), cause)
        logs[kind] = NamingLog(place, bounds.end, 0 < bounds.first == begin, causes)
    return History((commands, partition), offsets, reader, logs)


def cause_reader(settings: Settings, partition: int, kind: Kind | None) -> Callable[[Record], int | None]:
    """Tells which command of a partition a published record names, by its offset; None for one that names none.

    Of a result of that kind; None stands for dead letters.
    """

    def offset_of(record: Record) -> int | None:
        cause = letter_cause(record.headers, settings.group_id) if kind is None else cause_of(record.headers)
        is_ours = cause is not None and (cause.topic, cause.partition) == (settings.topic_commands, partition)
        return cause.offset if cause is not None and is_ours else None

    return offset_of
