"""How a long verb shows its progress, and how it keeps to a rate."""

import asyncio
import time
from collections.abc import Awaitable, Callable


class Progress:
    """Takes the progress of a verb. This class drops it; a subclass shows it to people. Calls cost next to nothing."""

    def begin(self, what: str, total: int) -> None:
        """Begin a part of the work, with a total of records."""

    def advance(self, records: int) -> None:
        """Count more records as done."""


class Allowance:
    """A token bucket: how many records a rate allows by now; one at first.

    The bucket holds a second's worth at most, so that a stall makes no burst. Times are seconds of a monotonic clock.
    """

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second, self._at = per_second, now
        self._records = 1.0

    def available(self, now: float) -> int:
        """How many records may be taken; below 0 after more were taken than allowed."""
        most = max(1.0, self._per_second)
        self._records = min(most, self._records + (now - self._at) * self._per_second)
        self._at = now
        return int(self._records)

    def take(self, records: int) -> None:
        """Take records. After taking more than allowed, wait for `seconds_owed`."""
        self._records -= records

    def seconds_owed(self, now: float) -> float:
        """How long to wait until the rate has allowed all records that were taken."""
        self.available(now)
        return max(0.0, -self._records / self._per_second)


# Called with the number of records that were done since, and how many of them count toward the rate.
Advance = Callable[[int, int], Awaitable[None]]


def paced(progress: Progress, rate: float) -> Advance:
    """Return a function that advances a progress, and waits if records exceed `rate` per second; 0 is no limit."""
    allowance = Allowance(rate, time.monotonic()) if rate > 0 else None

    async def advance(records: int, counted: int) -> None:
        progress.advance(records)
        seconds = 0.0
        if allowance is not None:
            allowance.take(counted)
            seconds = allowance.seconds_owed(time.monotonic())
        # Also for 0 s, so that the event loop gets its turn and notices signals.
        await asyncio.sleep(seconds)

    return advance
