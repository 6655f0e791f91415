"""What all commands of the command line do first: read the settings, and run on an event loop."""

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from worker.settings import Settings
from worker.tools.cli.settings_list import unknown_variables

Result = TypeVar("Result")


def settings_with_warnings() -> Settings:
    """The settings of the environment; on stderr, what looks like a setting and is none. Raises `ValidationError`."""
    warn_of_unknown_variables()
    return Settings()


def warn_of_unknown_variables() -> None:
    """Variables that look like settings and are none, each with the one that was perhaps meant."""
    for variable, nearest in unknown_variables(os.environ):
        warn(f"{variable} is no setting{f'; did you mean {nearest}?' if nearest else ''}")


def warn(text: str) -> None:
    """A line on stderr."""
    print(f"passport-worker: warning: {text}", file=sys.stderr)


def run_async(main: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run on uvloop where it is installed (the `uvloop` extra)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main())
    result: Result = uvloop.run(main())
    return result


def collect_garbage_seldom() -> None:
    """For what goes on for long: a batch makes tens of thousands of objects and hardly a cycle.

    Looking for cycles took a fifth of the CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
