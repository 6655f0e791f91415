"""`passport-worker sandbox`: the stage for somebody else's tests, which ends with the process that has started it.

It takes two processes. The one that was started waits for a signal or for the end of its parent, and sweeps up. The
other sets the stage up, and takes it down once the pipe between them is closed: by the first, or by its death.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from worker.settings import PREFIX, Settings
from worker.tools.common.catalogue.models import Catalogue
from worker.tools.demo.makers import makers, sample_catalogue
from worker.tools.demo.stage import TOPICS, Stage, Telling, exports, stage, temporary_folder

Run = Callable[[Callable[[], Coroutine[Any, Any, int]]], int]
"""Runs a coroutine function on a loop of its own."""

_LOOK_SECONDS = 0.1


def run_sandbox(settings: Settings, catalogue: Catalogue | None, run: Run, parent: int) -> int:
    """Serve until a signal comes or our parent, of that id, ends; the exit code. None stands for the sample catalogue.

    The second process returns from here, too, or raises what `stage` says. Whichever ends first, and however, it leaves
    no process and no folder behind. A second signal ends all at once.
    """
    signals = list[int]()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the second process is told by the pipe alone
        signal.signal(number, lambda number, _: signals.append(number))
    with temporary_folder() as folder:
        reading, writing = os.pipe()
        second = os.fork()
        if second == 0:
            os.close(writing)
            os.setsid()
            return run(lambda: _serve(settings, catalogue, folder, reading))
        _close_stdout()
        pipe = os.fdopen(writing, "wb")
        while (found := os.waitpid(second, os.WNOHANG)) == (0, 0):
            # It is looked at, since the kernel's signal (PR_SET_PDEATHSIG) comes when a thread of it ends.
            if signals or os.getppid() != parent:
                pipe.close()
            if len(signals) > 1:
                _kill_group(second)
            time.sleep(_LOOK_SECONDS)
        _kill_group(second)  # what it has left, if it was killed
        return os.WEXITSTATUS(found[1]) if os.WIFEXITED(found[1]) else 1


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _close_stdout() -> None:
    """Who reads the settings may read to the end, such as `source <(exec passport-worker sandbox)`."""
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


async def _serve(settings: Settings, catalogue: Catalogue | None, folder: Path, reading: int) -> int:
    """Until the pipe ends; raises `ServerFailed` where a server ends before."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def end() -> None:
        loop.remove_reader(reading)
        task.cancel()

    loop.add_reader(reading, end)
    tell = Telling(Console(stderr=True, highlight=False, markup=False))
    with suppress(asyncio.CancelledError):
        async with stage(settings, catalogue or sample_catalogue(), folder, tell, own_sessions=False) as set_up:
            key = {} if catalogue else {f"{PREFIX}API_KEY": makers()[1].api_key}
            print(*exports({**set_up.environment, **_for_producers(set_up), **key}), sep="\n", flush=True)
            _close_stdout()
            while True:
                for server in set_up.servers:
                    server.assert_running()
                await asyncio.sleep(_LOOK_SECONDS)
    return 0


def _for_producers(set_up: Stage) -> Mapping[str, str]:
    """Names of topics, and the servers by the name that the programs in `schemas/clients` know."""
    settings = set_up.settings
    topics = {name: getattr(settings, name) for name in TOPICS} | {"topic_dead_letters": settings.dead_letter_topic}
    names = {f"{PREFIX}{name.upper()}": topic for name, topic in topics.items()}
    return {**names, "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers}
