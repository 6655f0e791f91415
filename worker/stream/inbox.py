"""Records that were fetched for a lane and wait for its next batch."""

import asyncio
from collections import deque
from collections.abc import Sequence

from worker.messages.envelope import Record

INBOX_BYTES = 4 * 1024 * 1024


class FetchFailed(Exception):
    """The records of a partition cannot be fetched where the lane stands."""


class Inbox:
    """A bounded buffer between the reader and one lane.

    `fetch_offset` is where the next fetch starts: it passes commit markers and aborted records, which occupy offsets
    but are no records (guard B12).
    """

    def __init__(self, records_wanted: int) -> None:
        self._records_wanted = records_wanted
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._failure: str | None = None
        self.fetch_offset = 0

    def __len__(self) -> int:
        return len(self._records)

    def restart(self, offset: int) -> None:
        """Forget what was fetched: the lane starts at `offset`."""
        self._records.clear()
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
        return self._failure is None and len(self._records) < self._records_wanted and self._bytes < INBOX_BYTES

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
        """Undo a `take` from its end."""
        self._records.extendleft(reversed(records))
        self._bytes += sum(map(_size, records))
        self._changed.set()

    def take(self, most: int) -> tuple[list[Record], int]:
        """At most `most` records in order, and the offset behind them: all that is below it has been taken."""
        taken: list[Record] = []
        size = 0
        while self._records and len(taken) < most and size < INBOX_BYTES:
            record = self._records.popleft()
            size += _size(record)
            taken.append(record)
        self._bytes -= size
        if not self._records:
            self._changed.clear()
            return taken, self.fetch_offset
        return taken, taken[-1].offset + 1

    async def changed(self) -> None:
        """Wait until there is something to take: records, or a fetch offset that moved past markers.

        Raises `FetchFailed`.
        """
        await self._changed.wait()
        if self._failure is not None:
            raise FetchFailed(self._failure)


def _size(record: Record) -> int:
    """About what a record takes in memory, headers included: a producer may put anything there."""
    headers = sum(128 + len(value or b"") for _, value in record.headers)
    return 512 + headers + len(record.value or b"") + len(record.key or b"")
