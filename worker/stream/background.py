"""Work beside the main line: what ends although it should go on is noticed, whoever ended it."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")

RESTART_SECONDS = 1.0


class StrayCancellation(Exception):
    """Something was cancelled that nobody of ours has cancelled: aiokafka does that while a broker is away."""


class Background:
    """Tasks that go on until `stop`: one that ends before that, cancelled or not, is told of and started again."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopped = False

    def start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin; `work` makes the coroutine, anew for every start."""
        if not self._stopped:
            task = self._tasks[name] = asyncio.create_task(work(), name=name)
            task.add_done_callback(partial(self._ended, name, work))

    def stop(self) -> None:
        """Cancel all of them."""
        self._stopped = True
        for task in self._tasks.values():
            task.cancel()

    def _ended(self, name: str, work: Callable[[], Coroutine[Any, Any, None]], task: "asyncio.Task[None]") -> None:
        error = asyncio.CancelledError("by nobody of ours") if task.cancelled() else task.exception()
        if not self._stopped:
            log.error(
                "background_task_ended", task=name, error=f"{type(error).__name__}: {error}" if error else "returned"
            )
            asyncio.get_running_loop().call_later(RESTART_SECONDS, self.start, name, work)


async def in_own_task(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` in a task of its own. Raises `StrayCancellation` where that is cancelled and we are not."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
    if task.cancelled():
        raise StrayCancellation("cancelled by nobody of ours")
    return task.result()
