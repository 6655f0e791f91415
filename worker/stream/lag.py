"""How far a lane is behind the end of its log, and how long its oldest command has waited."""

import time

from worker.stream.inbox import Inbox


class Lag:
    """The lag of a lane that works. While a lane does not work, `worker.stream.lag_survey` asks the broker for it."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        # The offset at which the survey looked, None while the lane works, and the append time of the command there.
        self._surveyed_at: int | None = None
        self._surveyed_ms: int | None = None
        # A, once the lane has been open.
        self.applied: int | None = None
        # The first offset without a result, while the lane does not work.
        self.stands_at: int | None = None
        # The offset after the last readable record, by the last answer of a broker.
        self.log_end: int | None = None

    def restart(self, applied: int) -> None:
        """Drop the survey, since the lane works from now on."""
        self.applied, self.stands_at, self._surveyed_at = applied, None, None

    def survey(self, stands_at: int, log_end: int, oldest_ms: int | None) -> None:
        """Note the broker's answers on a lane that does not work. They count until it works again."""
        self.stands_at, self.log_end = stands_at, log_end
        self._surveyed_at, self._surveyed_ms = stands_at, oldest_ms

    def is_known(self, stands_at: int) -> bool:
        """Whether a survey has already found the command that waits there."""
        # Not `self.stands_at`, which changes when the lane halts.
        return self._surveyed_at == stands_at and self._surveyed_ms is not None

    def records(self) -> int:
        """Offsets from where the lane is to the end of the log; markers count (guard B12)."""
        # The survey is newer than A, which says nothing about a lane that has stopped working.
        position = self.applied if self.applied is not None and self._surveyed_at is None else self.stands_at
        return 0 if position is None or self.log_end is None else max(0, self.log_end - position)

    @property
    def oldest_ms(self) -> int | None:
        """Append time of the oldest command without a visible result; None if none is known."""
        return self._surveyed_ms if self._surveyed_at is not None else self._inbox.oldest_ms

    def seconds(self) -> float:
        """The age of the oldest command without a visible result; 0 if none waits."""
        oldest_ms = self.oldest_ms
        return 0.0 if oldest_ms is None else max(0.0, time.time() - oldest_ms / 1000)
