"""`passport-worker demo`: set the stage, play the stream, check the promise, tell how to go on by hand."""

import asyncio
import signal
from contextlib import AsyncExitStack

from rich.console import Console

from worker.settings import Settings
from worker.tools.demo.console_process import ConsoleProcess
from worker.tools.demo.makers import sample_catalogue
from worker.tools.demo.play import Play
from worker.tools.demo.stage import Interrupted, Stage, Telling, stage, start, temporary_folder
from worker.tools.demo.summary import HOW_TO_KEEP, RUN_AGAIN, by_hand, summary
from worker.tools.demo.table import LiveView, PlainView, View

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REFRESH_SECONDS = 0.1


class PromiseBroken(Exception):
    """A command had no result, two, or one in the wrong place; the text says which."""


class Interruption:
    """Ctrl-C, and what closes a terminal: the first time it ends the stream, the second time everything."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.impatient = False
        self._task = asyncio.current_task()

    def __enter__(self) -> "Interruption":
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._signalled)
        return self

    def __exit__(self, *_: object) -> None:
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _signalled(self) -> None:
        if self.asked.is_set() and not self.impatient and self._task is not None:
            self.impatient = True  # only once: what is ours must still be taken down
            self._task.cancel()
        self.asked.set()


async def run_demo(settings: Settings, *, commands: int, keep: bool, live: bool) -> None:
    """Play `commands` commands and check that each got one result.

    Raises `PromiseBroken`, `ServerFailed` or `ServerMissing`. Ctrl-C ends the stream early, with its summary, and the
    exit is clean.
    """
    console = Console(highlight=False, markup=False)
    with Interruption() as interruption:
        try:
            await _demo(settings, commands, keep, live, console, interruption)
        except Interrupted:
            console.print("stopped before anything was published")
        except asyncio.CancelledError:
            if not interruption.impatient:
                raise
            console.print("stopped at once, without a check of the promise")


async def _demo(  # noqa: PLR0913 - what the command line says, and what outlives it
    settings: Settings, commands: int, keep: bool, live: bool, console: Console, interruption: Interruption
) -> None:
    _print(console, "passport-worker demo: simulated factories, the real worker, a check of the promise", "")
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        tell = Telling(console, interruption.asked)
        set_up = await stack.enter_async_context(stage(settings, sample_catalogue(), folder, tell))
        console_page = ConsoleProcess(set_up.environment, folder)
        await start(stack, tell, "the console", console_page)
        _print(console, f"Look at it while it runs: {console_page.url}")
        view = LiveView(console) if live and console.is_terminal else PlainView(console)
        play = Play(set_up.settings, commands, interruption.asked)
        console.print()
        await _perform(play, set_up, view)
        console.print()
        _print(console, *summary(play), "")
        if breaches := play.breaches():
            raise PromiseBroken("; ".join(breaches))
        if keep and not interruption.asked.is_set():
            _print(console, *by_hand(set_up, console_page.url))
            await _stay(set_up, console, interruption)
        else:
            _print(console, HOW_TO_KEEP)


async def _perform(play: Play, set_up: Stage, view: View) -> None:
    async with play:
        with view:
            while not play.is_over():
                set_up.worker.assert_running()
                view.show(play)
                await asyncio.sleep(_REFRESH_SECONDS)
            view.show(play)


async def _stay(set_up: Stage, console: Console, interruption: Interruption) -> None:
    """Until Ctrl-C. The worker may be stopped meanwhile, and another be started by hand."""
    console.print("\nRunning. Ctrl-C stops it and removes everything.")
    has_ended = False
    while not interruption.asked.is_set():
        if not has_ended and (code := set_up.worker.exit_code) is not None:
            has_ended = True
            _print(console, f"The worker has ended with exit code {code}; all else goes on. Start another: {RUN_AGAIN}")
        await asyncio.sleep(_REFRESH_SECONDS)


def _print(console: Console, *lines: str) -> None:
    """Never wrapped, so that commands can be copied."""
    for line in lines:
        console.print(line, soft_wrap=True)
