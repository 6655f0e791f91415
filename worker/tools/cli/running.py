"""First steps of all commands: read the settings, run an event loop, and end it upon a signal."""

import asyncio
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from worker.settings import Settings
from worker.tools.cli.settings_list import unknown_variables

T = TypeVar("T")

GRACE_SECONDS = 10.0
"""Time that a long verb gets to reach its next safe point."""


def settings_with_warnings() -> Settings:
    """Read the settings, and warn of variables that only look like settings. Raises `ValidationError`."""
    warn_of_unknown_variables()
    return Settings()


def warn_of_unknown_variables() -> None:
    """Warn of variables that only look like settings, with the setting that was perhaps meant."""
    for variable, nearest in unknown_variables(os.environ):
        warn(f"{variable} is not a setting{f'; did you mean {nearest}?' if nearest else ''}")


def warn(text: str) -> None:
    """Print a warning on stderr."""
    print(f"passport-worker: warning: {text}", file=sys.stderr)


def run_async(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function, on uvloop if it is installed (the `uvloop` extra)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main())
    result: T = uvloop.run(main())
    return result


def obey(stop: asyncio.Event | None) -> None:
    """Let SIGTERM and SIGINT cancel the current task at once.

    With `stop`, the first signal sets it, so that a long verb ends after the transaction in flight. A second signal,
    or the end of a grace period, cancels the task.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def end() -> None:
        if stop is None or stop.is_set():
            task.cancel()
        else:
            stop.set()
            loop.call_later(GRACE_SECONDS, task.cancel)

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, end)


def collect_garbage_seldom() -> None:
    """Look for garbage cycles less often in long commands.

    A batch creates tens of thousands of objects but hardly any cycle; the search took a fifth of the CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


def return_large_blocks() -> None:
    """Let glibc give each freed block of 128 KiB or more back to the system.

    By default glibc raises this threshold with each large block, up to 32 MiB, and keeps later ones in its heap. There
    they break into pieces: a worker that met large records kept 30 MB. Other C libraries have no such threshold.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 128 * 1024)
