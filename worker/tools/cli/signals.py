"""SIGTERM and SIGINT end a verb: at once where it only asks, and a long one after the transaction in flight."""

import asyncio
import signal

from worker.tools.common.progress import Progress

GRACE_SECONDS = 10.0
"""So long a long verb may take to come to its next point of rest."""


class Stop:
    """Whether somebody asked a long verb to end."""

    def __init__(self) -> None:
        self.is_asked = False


def obey(stop: Stop | None) -> None:
    """From now on a signal cancels the current task: at once; with `stop`, the second one, or after a while."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def end() -> None:
        if stop is None or stop.is_asked:
            task.cancel()
        else:
            stop.is_asked = True
            loop.call_later(GRACE_SECONDS, task.cancel)

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, end)


class Stoppable:
    """A progress that is a point of rest: what tells it of records may be ended there."""

    def __init__(self, progress: Progress, stop: Stop) -> None:
        self._progress, self._stop = progress, stop

    def begin(self, what: str, total: int) -> None:
        """See `Progress`."""
        self._progress.begin(what, total)

    def advance(self, records: int) -> None:
        """See `Progress`. Raises `CancelledError` where somebody asked the verb to end."""
        self._progress.advance(records)
        if self._stop.is_asked:
            raise asyncio.CancelledError
