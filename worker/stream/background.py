"""Background tasks that run until stopped; a task that ends early is logged and restarted. Also bounded waits."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")

RESTART_SECONDS = 1.0


class StrayCancellation(Exception):
    """A task was cancelled, but not by the worker: aiokafka does that while a broker is away."""


class Background:
    """Tasks that run until `stop`."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopped = False

    def start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task. `work` makes the coroutine, a new one for each restart."""
        if not self._stopped:
            task = self._tasks[name] = asyncio.create_task(work(), name=name)
            task.add_done_callback(partial(self._ended, name, work))

    def stop(self) -> None:
        """Cancel all tasks."""
        self._stopped = True
        for task in self._tasks.values():
            task.cancel()

    def _ended(self, name: str, work: Callable[[], Coroutine[Any, Any, None]], task: "asyncio.Task[None]") -> None:
        error = asyncio.CancelledError("not by the worker") if task.cancelled() else task.exception()
        if not self._stopped:
            log.error(
                "background_task_ended", task=name, error=f"{type(error).__name__}: {error}" if error else "returned"
            )
            asyncio.get_running_loop().call_later(RESTART_SECONDS, self.start, name, work)


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, but no longer than `seconds`. Returns whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False


async def in_own_task(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` in a separate task. Raises `StrayCancellation` if that task is cancelled and the caller is not."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
    if task.cancelled():
        raise StrayCancellation("cancelled, and not by the worker")
    return task.result()
