"""Reads the history of one lane from Kafka: windows of commands, and the records that name these commands."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from math import inf
from typing import NamedTuple

from aiokafka.errors import UnknownTopicOrPartitionError

from worker.messages.envelope import Record
from worker.messages.events import cause_of
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.log_reader import LogReader
from worker.tools.common.result_record import letter_cause

# The logs that answer commands; None means dead letters, here and wherever a kind is optional.
LOGS: tuple[Kind | None, ...] = (*Kind, None)
# Pass this to `History.named` to read the logs to their end.
NAMED_TO_THE_END = 2**62
# A window ends after this many records in a row that name later commands. A few that come too early do not end it.
LOOK_AHEAD = 50


@dataclass(frozen=True, slots=True)
class Topics:
    """Where results and dead letters of a partition go. `counts` has the partitions of these topics and of commands.

    `elsewhere` has the command topics of other channels, whose results never go here.
    """

    settings: Settings
    counts: Mapping[str, int]
    elsewhere: frozenset[str] = frozenset()

    def place(self, kind: Kind | None, partition: int) -> tuple[str, int]:
        """Topic and partition of the results of a kind for a partition of commands."""
        topic = self.settings.dead_letter_topic if kind is None else self.settings.result_topics[kind - 1]
        return topic, partition % self.counts[topic]


async def topics_of(settings: Settings, cluster: Cluster, elsewhere: frozenset[str] = frozenset()) -> Topics:
    """The topics as the cluster has them. Raises `CLUSTER_ERRORS`."""
    names = [settings.topic_commands, *settings.answer_topics]
    counts = await cluster.partition_counts(names)
    if missing := [name for name in names if name not in counts]:
        raise UnknownTopicOrPartitionError(missing[0])
    return Topics(settings, counts, elsewhere)


def cause_reader(settings: Settings, partition: int, kind: Kind | None) -> Callable[[Record], int | None]:
    """Return a function from a result of the kind, or a dead letter, to the offset of the command that it names.

    The function returns None for a record that names no command of the partition.
    """

    def offset_of(record: Record) -> int | None:
        cause = letter_cause(record.headers, settings.group_id) if kind is None else cause_of(record.headers)
        is_ours = cause is not None and (cause.topic, cause.partition) == (settings.topic_commands, partition)
        return cause.offset if cause is not None and is_ours else None

    return offset_of


class Named(NamedTuple):
    """A published record, and the offset of the command that it names."""

    cause: int
    record: Record


class CauseLog:
    """A log of results or dead letters: the records that name commands of one partition, by the commands' offsets.

    First results are in the order of their commands; repeats are anywhere later. Once the rest of the log names only
    commands above an offset, it has nothing more for commands below it. A forged record in the middle may name any
    command, or none, and ends nothing.
    """

    def __init__(
        self, records: AsyncIterator[list[Record]], cause: Callable[[Record], int | None], start: int = 0
    ) -> None:
        """`cause` returns the offset of the command that a record names; None for other partitions, or no command.

        The first window begins at `start`.
        """
        self._records, self._cause = records, cause
        self._start, self._stop = start, start
        self.stray: Callable[[Record, int | None], None] = lambda record, cause: None
        """Gets records whose cause is None, or after all commands that are asked for. By default they are dropped."""
        self._ahead: list[Named] = []
        """Records that name commands after all windows so far, in the order of the log."""
        self._run = 0
        """How many of these came last in a row, without a record of the window between them."""

    def go_on(self, records: AsyncIterator[list[Record]]) -> None:
        """Continue with more records of the log."""
        self._records = records

    async def until(self, stop: int, limit: int) -> AsyncIterator[list[Named]]:
        """Yield, in chunks, the other records for commands below `stop`. Those that name `limit` or later are stray."""
        self._start, self._stop = self._stop, stop
        held, self._ahead, self._run = self._ahead, [], 0
        yield self._wanted(held, stop, limit)
        while self._run < LOOK_AHEAD:
            try:
                records = await anext(self._records)
            except StopAsyncIteration:
                return
            named = []
            for record in records:
                if (cause := self._cause(record)) is not None:
                    named.append(Named(cause, record))
                else:
                    self.stray(record, None)
            yield self._wanted(named, stop, limit)

    def _wanted(self, records: list[Named], stop: int, limit: int) -> list[Named]:
        """The records for commands below `stop`. Those for commands below `limit` are kept for later."""
        wanted = []
        for named in records:
            if named.cause < stop:
                wanted.append(named)
                # Repeats do not count: a replay that alternates with first results would hold the window open.
                if named.cause >= self._start:
                    self._run = 0
            elif named.cause < limit:
                self._ahead.append(named)
                self._run += 1
            else:
                self.stray(named.record, named.cause)
        return wanted


@dataclass(frozen=True, slots=True)
class CommandWindow:
    """Some commands in order, and the offsets that they cover: from `start` to below `stop`."""

    start: int
    stop: int
    commands: list[Record]


@dataclass(slots=True)
class NamingLog:
    """A log of results or dead letters, read up to `end`.

    It may have dropped records that were appended before `dropped_ms`: -inf if none, inf if unknown.
    """

    place: tuple[str, int]
    end: int
    dropped_ms: float
    causes: CauseLog


# Gets records of a log that name no command of a history, with the later offset that they name, or None.
Stray = Callable[[Kind | None, Record, int | None], None]


class History:
    """Commands of one partition at offsets from `start` to below `stop`, and the logs that answer them, by kind."""

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

    async def windows(self) -> AsyncIterator[CommandWindow]:
        """Yield windows without a gap between them. After each, `named` yields its records."""
        # The newest records are held back: the last window reaches to `stop`, past transaction markers after them.
        at, held = self.start, list[Record]()
        async for commands in self._reader.read(self.topic, self.partition, self.start, self.stop):
            if held:
                yield CommandWindow(at, held[-1].offset + 1, held)
                at = held[-1].offset + 1
            held = commands
        if at < self.stop:
            yield CommandWindow(at, self.stop, held)

    async def named(self, stop: int) -> AsyncIterator[tuple[Kind | None, list[Named]]]:
        """Yield, log by log, the records for commands below `stop`; repeats may name any earlier command.

        While `stop` is within the history, records for commands after the history are stray.
        """
        for kind, log in self.logs.items():
            async for records in log.causes.until(stop, max(stop, self.stop)):
                yield kind, records

    def tell(self, stray: Stray) -> None:
        """From now on, call `stray` with records that name neither one of these commands nor an earlier one."""
        for kind, log in self.logs.items():
            log.causes.stray = partial(stray, kind)

    async def look_again(self) -> None:
        """Let `named` continue to the present ends of the logs."""
        for log in self.logs.values():
            topic, partition = log.place
            end = (await self._reader.bounds(topic, [partition]))[partition].end
            log.causes.go_on(self._reader.read(topic, partition, log.end, end))
            log.end = end


async def history(
    reader: LogReader, topics: Topics, partition: int, offsets: tuple[int, int], since: datetime
) -> History:
    """The history of a lane: its commands at `offsets` (start, stop), and the logs from `since` to their present ends.

    Raises `CLUSTER_ERRORS`, here and while it is read.
    """
    commands = topics.settings.topic_commands
    logs = dict[Kind | None, NamingLog]()
    for kind in LOGS:
        topic, number = place = topics.place(kind, partition)
        bounds = (await reader.bounds(topic, [number]))[number]
        begin = (await reader.first_since(topic, [number], since))[number]
        cause = cause_reader(topics.settings, partition, kind)
        causes = CauseLog(reader.read(topic, number, begin, bounds.end), cause, offsets[0])
        dropped_ms = -inf
        # Then the log has dropped records, and the search begins at the first one that is left: results of these
        # commands may be among the dropped ones. If the search begins later, none are.
        if 0 < bounds.first == begin:
            first_ms = await reader.appended_ms(topic, number, begin) if begin < bounds.end else None
            dropped_ms = inf if first_ms is None else first_ms
        logs[kind] = NamingLog(place, bounds.end, dropped_ms, causes)
    return History((commands, partition), offsets, reader, logs)
