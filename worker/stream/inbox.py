"""Records that were fetched for a lane and are not answered yet: those that wait, and a count of those at work."""

import asyncio
from collections import deque
from collections.abc import Sequence

from worker.messages.envelope import Record


class FetchFailed(Exception):
    """The records of a partition cannot be fetched where the lane stands."""


class Inbox:
    """A buffer between the reader and one lane, bounded by all that the lane holds until its results are visible.

    `most_bytes` is the lane's part of the worker's memory. A lane that holds nothing takes a record of any size.
    `fetch_offset` is where the next fetch starts: it passes commit markers and aborted records, which occupy offsets
    but are no records (guard B12).
    """

    def __init__(self, records_wanted: int, most_bytes: int) -> None:
        self._records_wanted, self._most_bytes = records_wanted, most_bytes
        self._records: deque[Record] = deque()
        self._taken: deque[tuple[int, int]] = deque()
        """Batches that are at work: the offset behind each, and its bytes."""
        self._bytes = 0
        self._changed = asyncio.Event()
        self._failure: str | None = None
        self.fetch_offset = 0

    def __len__(self) -> int:
        return len(self._records)

    def restart(self, offset: int) -> None:
        """Forget what was fetched: the lane starts at `offset`."""
        self._records.clear()
        self._taken.clear()
        self._bytes = 0
        self._failure = None
        self.fetch_offset = offset
        self._changed.clear()

    def fail(self, reason: str) -> None:
        """Make the lane open again: what is fetched does not follow on what it has."""
        self._failure = reason
        self._changed.set()

    @property
    def wants_more(self) -> bool:
        """Whether another fetch fits."""
        return self._failure is None and len(self._records) < self._records_wanted and self._bytes < self._most_bytes

    @property
    def oldest_ms(self) -> int | None:
        """Append time of the oldest record that waits."""
        return self._records[0].timestamp_ms if self._records else None

    def put(self, records: Sequence[Record], fetch_offset: int) -> None:
        """Add what was fetched, and where the next fetch starts."""
        self._records.extend(records)
        self._bytes += sum(map(_size, records))
        if records or fetch_offset != self.fetch_offset:
            self.fetch_offset = fetch_offset
            self._changed.set()

    def put_back(self, records: Sequence[Record]) -> None:
        """Undo the last `take`, which took these."""
        if records:
            self._records.extendleft(reversed(records))
            self._taken.pop()
            self._changed.set()

    def take(self, most: int) -> tuple[list[Record], int]:
        """At most `most` records in order, and the offset behind them: all that is below it has been taken.

        A batch is at most a quarter of what the lane may hold, so that one is fetched while others are at work.
        """
        taken: list[Record] = []
        size = 0
        while self._records and len(taken) < most and 4 * size < self._most_bytes:
            record = self._records.popleft()
            size += _size(record)
            taken.append(record)
        if self._records:
            stop = taken[-1].offset + 1
        else:
            self._changed.clear()
            stop = self.fetch_offset
        if taken:
            self._taken.append((stop, size))
        return taken, stop

    def answered(self, offset: int) -> None:
        """All results below `offset` are visible: what was held for them is free."""
        while self._taken and self._taken[0][0] <= offset:
            self._bytes -= self._taken.popleft()[1]

    async def changed(self) -> None:
        """Wait until there is something to take: records, or a fetch offset that moved past markers.

        Raises `FetchFailed`.
        """
        await self._changed.wait()
        if self._failure is not None:
            raise FetchFailed(self._failure)


def _size(record: Record) -> int:
    """About what a record takes in memory, as it came and decoded. A producer may put anything into its headers."""
    headers = sum(128 + len(value or b"") for _, value in record.headers)
    return 512 + headers + 2 * len(record.value or b"") + len(record.key or b"")
