"""An asyncio event loop with virtual time: nothing waits, and a schedule depends on its seed alone.

The loop keeps what asyncio promises: callbacks that are ready run in their order. It jumps to the next timer when
nothing is ready. Each callback belongs to the process whose context it has. The callbacks of a process that is frozen
wait, those of timers too, and run in their order when it wakes.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any


class Handle:
    """A callback to run, as asyncio wants it: faster to make than `asyncio.Handle`."""

    __slots__ = ("args", "callback", "context", "is_cancelled", "when")

    def __init__(self, callback: Any, args: tuple[Any, ...], context: Context | None, when: float = 0.0) -> None:
        self.callback, self.args, self.when = callback, args, when
        self.context = copy_context() if context is None else context
        self.is_cancelled = False

    def cancel(self) -> None:
        """Never run it."""
        self.is_cancelled = True


class Process:
    """What the loop knows of a process of the operating system."""

    def __init__(self) -> None:
        self.frozen_until = 0.0
        # Callbacks that were due while it was frozen.
        self.held: list[Handle] = []


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class Loop(asyncio.AbstractEventLoop):
    """Runs all processes of a world, and its servers and network, which have no process."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.steps = 0
        self._ready = deque[Handle]()
        self._timers: list[tuple[float, int, Handle]] = []
        self._numbers = count()

    def run(self, is_over: Callable[[], bool], until: float) -> bool:
        """Run callbacks until it is over, or until that time. Returns whether it was over."""
        ready, timers = self._ready, self._timers
        asyncio._set_running_loop(self)
        try:
            while True:
                while ready:
                    handle = ready.popleft()
                    if not handle.is_cancelled:
                        self._run(handle)
                if is_over():
                    return True
                if not timers or timers[0][0] > until:
                    return False
                self.now = max(self.now, timers[0][0])
                while timers and timers[0][0] <= self.now:
                    ready.append(heapq.heappop(timers)[2])
        finally:
            asyncio._set_running_loop(None)

    def _run(self, handle: Handle) -> None:
        process = handle.context.get(PROCESS)
        if process is not None and (process.held or process.frozen_until > self.now):
            if not process.held:
                self.call_at(process.frozen_until, self._thaw, process, context=Context())
            process.held.append(handle)
            return
        self.steps += 1
        handle.context.run(handle.callback, *handle.args)

    def _thaw(self, process: Process) -> None:
        held, process.held = process.held, []
        # In front of what became ready at this moment: these came first.
        self._ready.extendleft(reversed(held))

    def drop_timers(self, context: Context) -> None:
        """Drop all timers of a context."""
        for _, _, handle in self._timers:
            if handle.context is context:
                handle.cancel()

    # What asyncio asks of a loop

    def time(self) -> float:
        """Virtual seconds."""
        return self.now

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> Handle:
        """See asyncio."""
        handle = Handle(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Handle:
        """See asyncio."""
        handle = Handle(callback, args, context, when)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Handle:
        """See asyncio."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def create_future(self) -> "asyncio.Future[Any]":
        """See asyncio."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[Any]":
        """See asyncio."""
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Drop what nobody has read, as a crash leaves it."""

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Always, as far as callbacks see."""
        return True

    def is_closed(self) -> bool:
        """Never."""
        return False

    def _timer_handle_cancelled(self, handle: Handle) -> None:
        pass
