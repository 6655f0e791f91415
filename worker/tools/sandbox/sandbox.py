"""`passport-worker sandbox`: the stage for tests of other programs, which ends with the process that started it.

There are two processes. The first waits for a signal or for the end of its parent, and cleans up. The second sets the
stage up, and takes it down when the pipe between them closes: because the first one closes it, or dies.
"""

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from worker.settings import Settings
from worker.tools.cli.running import run_async
from worker.tools.common.catalogue.models import Catalogue
from worker.tools.demo.makers import makers, sample_catalogue
from worker.tools.demo.stage import Telling, say, stage, temporary_folder

_LOOK_SECONDS = 0.1


def run_sandbox(settings: Settings, catalogue: Catalogue | None, parent: int, channel: str) -> int:
    """Serve until a signal comes, or the process `parent` ends. Returns the exit code. None: the sample catalogue.

    Prints the topics of the channel, which the settings serve. The second process returns from here, too, or raises
    errors of `stage`. No process and no folder is left behind, whichever process ends first. A second signal ends
    everything at once.
    """
    signals = list[int]()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the second process listens to the pipe only
        signal.signal(number, lambda number, _: signals.append(number))
    with temporary_folder() as folder:
        reading, writing = os.pipe()
        second = os.fork()
        if second == 0:
            os.close(writing)
            # Ctrl-C must not reach the servers, and the first process can kill the whole group.
            os.setsid()
            return run_async(lambda: _serve(settings, catalogue, folder, reading, channel))
        _close_stdout()
        pipe = os.fdopen(writing, "wb")
        while (ended := os.waitpid(second, os.WNOHANG)) == (0, 0):
            # Poll: the kernel's own signal (PR_SET_PDEATHSIG) would come when a thread of the parent ends.
            if signals or os.getppid() != parent:
                pipe.close()
            if len(signals) > 1:
                _kill_group(second)
            time.sleep(_LOOK_SECONDS)
        _kill_group(second)  # if it was killed, its servers still run
        return os.WEXITSTATUS(ended[1]) if os.WIFEXITED(ended[1]) else 1


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _close_stdout() -> None:
    """Close stdout, so that readers of the settings reach its end: `source <(exec passport-worker sandbox)`."""
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


async def _serve(settings: Settings, catalogue: Catalogue | None, folder: Path, reading: int, channel: str) -> int:
    """Serve until the pipe closes. Raises `ServerFailed` if a server ends earlier."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def end() -> None:
        loop.remove_reader(reading)
        task.cancel()

    loop.add_reader(reading, end)
    console = Console(stderr=True, highlight=False, markup=False)
    with suppress(asyncio.CancelledError):
        # The servers stay in this process's group. If this process is killed, the first one kills them with the group.
        async with stage(
            settings, catalogue or sample_catalogue(), folder, Telling(console), own_sessions=False
        ) as set_up:
            print(*set_up.exports(None if catalogue else makers()[1].api_key, channel), sep="\n", flush=True)
            _close_stdout()
            say(console, "  ready; its settings are on standard output. Ctrl-C ends it and removes everything.")
            while True:
                for server in set_up.servers:
                    server.assert_running()
                await asyncio.sleep(_LOOK_SECONDS)
    return 0
