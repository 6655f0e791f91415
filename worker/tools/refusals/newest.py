"""Reads the newest records of several logs: backwards from their ends, in growing windows, up to a bound."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from aiokafka.errors import OffsetOutOfRangeError

from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.stream.log_reader import LogReader

# The number of offsets in the first window of a log, and the factor by which each further window is larger.
FIRST_WINDOW, GROWTH = 32, 4
# Windows that are read side by side: their newest records are in memory at once.
_AT_ONCE = 8

# About the bytes of a result's headers and key: adding them up would take longer than everything else.
_OTHER_BYTES = 600

# Why the reading ended: enough records, the beginning of all logs, or the bound.
Reach = Literal["enough", "everything", "bound"]


@dataclass(frozen=True, slots=True)
class Bound:
    """Limits of one question. A window that has begun is read to its end."""

    records: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest wanted records, newest first, and how far the logs were read.

    All `looked_at` records that were appended at `back_to_ms` or later were looked at; None: all records.
    """

    records: tuple[Record, ...]
    looked_at: int
    back_to_ms: int | None
    reach: Reach


@dataclass(slots=True)
class Tail:
    """The end of a log, whose records from `start` on were read. Reading goes back to `first` at most."""

    topic: str
    partition: int
    first: int
    start: int
    window: int = 0
    oldest_ms: float = inf
    """Every record that was appended later has been read. Minus infinity: there are no others."""

    def __post_init__(self) -> None:
        if self.start <= self.first:
            self.oldest_ms = -inf


@dataclass(slots=True)
class _Reading:
    """A reading under way."""

    reader: LogReader
    tails: Sequence[Tail]
    cause_of: Callable[[Record], Place | None]
    most: int
    newest: list[tuple[Record, Place]] = field(default_factory=list)
    """Wanted records with their commands: at most `most`, newest first."""
    times: list[int] = field(default_factory=list)
    bytes: int = 0

    def next_tails(self) -> list[Tail]:
        """The logs to read next: those that may hold a record newer than the last wanted one."""
        enough_ms = self.newest[-1][0].timestamp_ms if len(self.newest) == self.most else -inf
        behind = sorted((tail for tail in self.tails if tail.oldest_ms > enough_ms), key=lambda tail: -tail.oldest_ms)
        unread = [tail for tail in behind if tail.oldest_ms == inf]
        # A busy log has covered a second when a quiet one has covered a day, so it is continued first.
        return unread or behind[: (len(behind) + 1) // 2]

    def next_window(self, tail: Tail, tails: int, bound: Bound) -> int:
        """How many offsets of a log to read next; 0 if the bound is spent. Each log is read at least once."""
        left = bound.records - len(self.times)
        if self.times:
            left = min(left, (bound.bytes - self.bytes) * len(self.times) // max(1, self.bytes))
        return max(tail.oldest_ms == inf, min(tail.window * GROWTH or FIRST_WINDOW, left // tails))

    async def read(self, tail: Tail, window: int) -> None:
        """Read the window before the offsets that were read. It counts once it is read completely."""
        try:
            await self._read(tail, window)
        except OffsetOutOfRangeError:  # retention has deleted the oldest records meanwhile
            bounds = await self.reader.bounds(tail.topic, [tail.partition])
            tail.first = min(tail.start, max(tail.first, bounds[tail.partition].first))
            await self._read(tail, window)

    async def _read(self, tail: Tail, window: int) -> None:
        begin = max(tail.first, tail.start - window)
        times, wanted, size = list[int](), deque[tuple[Record, Place]](maxlen=self.most), 0
        async for records in self.reader.read(tail.topic, tail.partition, begin, tail.start):
            for record in records:
                times.append(record.timestamp_ms)
                size += len(record.value or b"") + _OTHER_BYTES
                if (cause := self.cause_of(record)) is not None:
                    wanted.append((record, cause))
        # After the last record, and without an await: a timeout within a window leaves nothing half counted.
        tail.start, tail.window = begin, window
        tail.oldest_ms = -inf if begin == tail.first else min(times, default=tail.oldest_ms)
        self.times += times
        self.bytes += size
        self._keep(wanted)

    def result(self, has_ended: bool) -> Newest:
        """The records that are certain.

        A log that was read less far may hold a record that is newer than the older ones of other logs.
        """
        certain_ms = max((tail.oldest_ms for tail in self.tails), default=-inf)
        if not has_ended:
            records = tuple(record for record, _ in self.newest if record.timestamp_ms >= certain_ms)
            looked_at = sum(time >= certain_ms for time in self.times)
            return Newest(records, looked_at, int(certain_ms), "bound")
        records = tuple(record for record, _ in self.newest)
        if certain_ms == -inf:
            return Newest(records, len(self.times), None, "everything")
        back_to_ms = records[-1].timestamp_ms
        return Newest(records, sum(time >= back_to_ms for time in self.times), back_to_ms, "enough")

    def _keep(self, wanted: Sequence[tuple[Record, Place]]) -> None:
        """Keep the newest records. A result that was published again counts once."""
        by_command: dict[Place, tuple[Record, Place]] = {}
        for record, cause in heapq.merge(
            self.newest, reversed(wanted), key=lambda item: item[0].timestamp_ms, reverse=True
        ):
            by_command.setdefault(cause, (record, cause))
        self.newest = list(by_command.values())[: self.most]


async def read_newest(
    reader: LogReader, tails: Sequence[Tail], cause_of: Callable[[Record], Place | None], most: int, bound: Bound
) -> Newest:
    """The `most` newest records of these logs for which `cause_of` returns a command; fewer if the bound is spent.

    Raises `CLUSTER_ERRORS`, also if a log could not be read at all in the time of the bound.
    """
    reading, limit, has_ended = _Reading(reader, tails, cause_of, most), asyncio.timeout(bound.seconds), False
    try:
        async with limit:
            while chosen := reading.next_tails():
                windows = [reading.next_window(tail, len(chosen), bound) for tail in chosen]
                if min(windows) <= 0:
                    break
                for at in range(0, len(chosen), _AT_ONCE):
                    await asyncio.gather(*map(reading.read, chosen[at : at + _AT_ONCE], windows[at:]))
            else:
                has_ended = True
    except TimeoutError:
        # The reader has its own timeouts, which are errors of Kafka, not the end of the bound.
        if not limit.expired() or any(tail.oldest_ms == inf for tail in tails):
            raise
    return reading.result(has_ended)
