"""How far a long verb is, told while it runs."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol


class Progress(Protocol):
    """Shows it to people; what it is told costs next to nothing."""

    def begin(self, what: str, total: int) -> None:
        """A part of the work begins, of so many records."""
        ...

    def advance(self, records: int) -> None:
        """So many more are done."""
        ...


class Quiet:
    """A progress that nobody sees."""

    def begin(self, what: str, total: int) -> None:
        """Nothing."""

    def advance(self, records: int) -> None:
        """Nothing."""


Advance = Callable[[int, int], Awaitable[None]]
"""So many more records are done, of which so many count for the pace."""


def paced(progress: Progress, rate: float) -> Advance:
    """Tells a progress of records, and waits where what counts comes faster than `rate` a second; 0 is no limit."""
    began, done = time.monotonic(), 0

    async def advance(records: int, counted: int) -> None:
        nonlocal done
        done += counted
        progress.advance(records)
        if rate > 0:
            await asyncio.sleep(max(0.0, done / rate - (time.monotonic() - began)))

    return advance
