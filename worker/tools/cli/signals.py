"""SIGTERM and SIGINT end a verb: a short one at once, a long one after the transaction in flight."""

import asyncio
import signal

GRACE_SECONDS = 10.0
"""Time that a long verb gets to reach its next safe point."""


class Stop:
    """Set once a signal has asked a long verb to end."""

    def __init__(self) -> None:
        self.is_asked = False


def obey(stop: Stop | None) -> None:
    """Let signals cancel the current task: at once, or, with `stop`, by a second signal or after a grace period."""
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
