"""Holds records of a lane that have no visible result yet: the waiting ones, and the sizes of those at work."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from sys import getsizeof
from typing import NamedTuple

from worker.batch.batch import Batch
from worker.messages.envelope import Envelope, Record
from worker.store.port import ExpectedPosition


class _Taken(NamedTuple):
    """A batch at work: the offset after it, its bytes in memory, and when its records were appended."""

    stop: int
    size: int
    appended_ms: Sequence[int]


class Budget:
    """The bytes that all inboxes of a worker may hold together, until results are visible.

    An inbox that holds less than `share` may take more, whatever the others hold. A flood on some lanes therefore never
    stops the fetches of the others. All together exceed the budget by at most a quarter, and a record each.
    """

    def __init__(self, max_bytes: int, inboxes: int = 1) -> None:
        """`inboxes` share the bytes. There may be 0, in a group with more workers than lanes."""
        self._max_bytes = max_bytes
        self.share = max_bytes // (4 * max(1, inboxes))
        self.used = 0

    @property
    def is_spent(self) -> bool:
        """Whether only inboxes that hold less than their share may still take records."""
        return self.used >= self._max_bytes


class Inbox:
    """A buffer between the reader and one lane.

    It stops asking for records at `records_wanted`, or when the shared byte budget is spent and its own share is full.
    An empty inbox takes a record of any size, so that no lane waits until another one frees memory.

    `fetch_offset` is where the next fetch starts. It moves past commit markers and aborted records, which occupy
    offsets but never reach the inbox (guard B12).
    """

    def __init__(self, records_wanted: int, budget: Budget) -> None:
        self._records_wanted, self._budget = records_wanted, budget
        # Records, each with its bytes in memory.
        self._waiting: deque[tuple[Record, int]] = deque()
        # The envelopes of the first of these records, opened ahead of their turn.
        self._envelopes: deque[Envelope] = deque()
        # Batches whose results are not visible yet.
        self._taken: deque[_Taken] = deque()
        # Ranges of offsets without a record that the reader passed, in order.
        self._skipped: deque[range] = deque()
        self._bytes = 0
        # Grows with each `restart`. A reader must compare it after any await and before `put`: records that were
        # fetched before a restart do not continue the inbox after it, even at the same offset (guard B21).
        self.restarts = 0
        # Why the session has to open the lane again.
        self.failure: str | None = None
        # Set when records came or a fetch failed. All inboxes of a session share the session's event.
        self.changed = asyncio.Event()
        self.fetch_offset = self._answered = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def restart(self, offset: int) -> None:
        """Forget all records: the lane reads from `offset` on."""
        # Also the envelopes: after a restart, another record may have the same offset.
        self._waiting.clear()
        self._envelopes.clear()
        self._taken.clear()
        self._skipped.clear()
        self._hold(-self._bytes)
        self.restarts += 1
        self.failure = None
        self.fetch_offset = self._answered = offset

    def leave(self) -> None:
        """Free all memory, since the lane stops working: its records will be fetched again.

        Keeps only the times of the oldest commands, since these still wait and the lag has to show it.
        """
        ages = [batch._replace(size=0) for batch in self._taken]
        if self._waiting:
            oldest, _ = self._waiting[0]
            ages.append(_Taken(oldest.offset + 1, 0, [oldest.timestamp_ms]))
        self.restart(self.fetch_offset)
        self._taken.extend(ages)

    @property
    def is_busy(self) -> bool:
        """Whether a fetched record has no visible result yet, whichever step holds it up."""
        return self._answered < self.fetch_offset

    def fail(self, reason: str) -> None:
        """Ask the session to open the lane again."""
        self.failure = reason
        self.changed.set()

    @property
    def wants_more(self) -> bool:
        """Whether another fetch fits."""
        if self.failure is not None or len(self._waiting) >= self._records_wanted:
            return False
        return self._bytes <= self._budget.share or not self._budget.is_spent

    @property
    def oldest_ms(self) -> int | None:
        """Append time of the oldest record without a visible result; None if all have one."""
        if self._taken:
            return self._taken[0].appended_ms[0]
        return self._waiting[0][0].timestamp_ms if self._waiting else None

    def put(self, records: Sequence[Record], fetch_offset: int) -> None:
        """Add the records fetched from `self.fetch_offset` on, and note where the next fetch starts."""
        if len(records) != fetch_offset - self.fetch_offset:
            self._skipped.extend(_gaps(self.fetch_offset, records, fetch_offset))
        sizes = list(map(_size, records))
        self._waiting.extend(zip(records, sizes, strict=True))
        self._hold(sum(sizes))
        if records or fetch_offset != self.fetch_offset:
            self.fetch_offset = fetch_offset
            self.changed.set()

    def open_ahead(self, open_envelope: Callable[[Record], Envelope], limit: int) -> bool:
        """Open one more envelope, until those of the first `limit` records are open. Returns whether it opened one."""
        if len(self._envelopes) >= min(limit, len(self._waiting)):
            return False
        record, _ = self._waiting[len(self._envelopes)]
        self._envelopes.append(open_envelope(record))
        return True

    def take(self, expected: ExpectedPosition, max_records: int, max_bytes: int) -> Batch:
        """Take the next batch of a lane, from `expected` on. The record that reaches `max_bytes` is its last."""
        records: list[Record] = []
        size = 0
        while self._waiting and len(records) < max_records and size < max_bytes:
            record, record_size = self._waiting.popleft()
            records.append(record)
            size += record_size
        # A drained inbox moves the lane to the fetch offset, past markers (guard B12).
        stop = records[-1].offset + 1 if self._waiting else self.fetch_offset
        if records:
            self._taken.append(_Taken(stop, size, [record.timestamp_ms for record in records]))
        skipped = tuple(gap for gap in self._skipped if gap.start < stop)
        envelopes = [self._envelopes.popleft() for _ in range(min(len(records), len(self._envelopes)))]
        return Batch(expected, stop, records, skipped, size, envelopes)

    def put_back(self, batch: Batch) -> None:
        """Undo the last `take`, which took this batch."""
        if batch.records:
            # These belong to records after the batch, which is now in front of them again.
            self._envelopes.clear()
            self._waiting.extendleft((record, _size(record)) for record in reversed(batch.records))
            # The last entry is the one of this batch.
            self._taken.pop()
            self.changed.set()

    def answered(self, offset: int) -> list[Sequence[int]]:
        """Free what was held for offsets below `offset`, whose results are visible now.

        Returns when the records of each batch were appended.
        """
        self._answered = offset
        appended_ms: list[Sequence[int]] = []
        while self._taken and self._taken[0].stop <= offset:
            batch = self._taken.popleft()
            # Not at the take: when bytes were freed there, a lane held three times as many.
            self._hold(-batch.size)
            appended_ms.append(batch.appended_ms)
        while self._skipped and self._skipped[0].stop <= offset:
            self._skipped.popleft()
        return appended_ms

    def _hold(self, size: int) -> None:
        self._bytes += size
        self._budget.used += size


def _gaps(start: int, records: Sequence[Record], stop: int) -> Iterator[range]:
    """The ranges of offsets from `start` to below `stop` that hold none of these records."""
    expected = start
    for offset in (*(record.offset for record in records), stop):
        if offset > expected:
            yield range(expected, offset)
        expected = offset + 1


def _size(record: Record) -> int:
    """Estimate the memory of a record and its command. Headers count, too: producers may put anything there."""
    size = 512 + 2 * len(record.value or b"") + len(record.key or b"")
    for name, value in record.headers:
        # Not the name's length: a single wide character makes all of its characters take four bytes.
        size += 80 + getsizeof(name) + len(value or b"")
    return size
