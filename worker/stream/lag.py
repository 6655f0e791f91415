"""What a lane has not answered yet: how far the log goes on behind it, and since when its oldest command waits."""

from collections import deque
from collections.abc import Sequence

from worker.messages.envelope import Record
from worker.stream.inbox import Inbox


class Lag:
    """Kept by the lane while it works, and by `worker.stream.lag_survey` while it does not."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._taken: deque[tuple[int, int]] = deque()
        """Batches whose results are not visible: the offset behind each, and when its oldest record was appended."""
        self._oldest_ms: int | None = None
        self._surveyed = False
        self.applied: int | None = None
        """A, since the lane was open first."""
        self.stands_at: int | None = None
        """Offset of the first record that has no result, where a lane that does not work stands."""
        self.log_end: int | None = None
        """Offset behind the last readable record, as far as somebody has asked."""

    def restart(self, applied: int) -> None:
        """The lane starts afresh; the inbox is empty then."""
        self.applied = applied
        self._taken.clear()
        self._surveyed = False

    def take(self, records: Sequence[Record], stop: int) -> None:
        """The lane takes a batch that goes up to `stop`."""
        if records:
            self._taken.append((stop, records[0].timestamp_ms))

    def put_back(self) -> None:
        """Undo the last `take`."""
        self._taken.pop()

    def answered(self, offset: int) -> list[int]:
        """All results below `offset` are visible; when the oldest record of each batch was appended."""
        appended_ms = []
        while self._taken and self._taken[0][0] <= offset:
            appended_ms.append(self._taken.popleft()[1])
        return appended_ms

    def survey(self, stands_at: int, log_end: int, oldest_ms: int | None) -> None:
        """What the broker said of a lane that does not work; it holds until the lane starts afresh."""
        self.stands_at, self.log_end, self._oldest_ms, self._surveyed = stands_at, log_end, oldest_ms, True

    def is_known(self, stands_at: int) -> bool:
        """Whether a survey has already found the command that waits there."""
        return self._surveyed and self.stands_at == stands_at and self._oldest_ms is not None

    @property
    def records(self) -> int:
        """Offsets from where the lane is to the end of the log; markers count (guard B12)."""
        at = self.applied if self.applied is not None and not self._surveyed else self.stands_at
        return 0 if at is None or self.log_end is None else max(0, self.log_end - at)

    @property
    def oldest_ms(self) -> int | None:
        """Append time of the oldest command without a visible result; None where none is known."""
        if self._surveyed:
            return self._oldest_ms
        return self._taken[0][1] if self._taken else self._inbox.oldest_ms
