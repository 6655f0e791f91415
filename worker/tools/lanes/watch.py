"""`passport-worker lanes --watch`, and `--until-answered`: the report again and again, until something ends it."""

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from worker.tools.cli.output import Page
from worker.tools.common.lane_report import LanesReport
from worker.tools.common.servers import KAFKA_AWAY, POSTGRES_AWAY

WATCH_SECONDS = 2.0
_AWAY = (KAFKA_AWAY, POSTGRES_AWAY)

# Escape sequences: enter a second screen without a cursor, and leave it; go to its start; clear the rest of a line, and
# of the screen.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


async def watch(look: Callable[[], Awaitable[LanesReport]], rendered: Callable[[LanesReport], str]) -> None:
    """Write the lanes every two seconds, until SIGINT or SIGTERM cancels the task."""
    with suppress(asyncio.CancelledError), _screen() as write:
        while True:
            write(rendered(await look()))
            await asyncio.sleep(WATCH_SECONDS)


async def until_answered(look: Callable[[], Awaitable[LanesReport]], say: Callable[[str], None]) -> LanesReport:
    """Look every two seconds, until no command of the served lanes waits or a lane has halted. Returns the last look.

    Waits also for servers that are away and topics that are missing. `say` gets such a problem when it begins.
    """
    problems: tuple[str, ...] = ()
    while True:
        report = await look()
        before, problems = problems, tuple(problem.text for problem in report.problems)
        for text in problems:
            if text not in before:
                say(f"waiting: {text}")
        served = [lane for lane in report.lanes if lane.state != "not-served"]
        # By the lag: a state such as `never-run` says nothing about waiting commands. An unknown lag is not 0.
        is_answered = bool(served) and all(lane.lag_records == 0 for lane in served)
        is_answered = is_answered and not any(problem.code in _AWAY for problem in report.problems)
        if is_answered or any(lane.state == "halted" for lane in served):
            return report
        await asyncio.sleep(WATCH_SECONDS)


@contextmanager
def _screen() -> Iterator[Callable[[str], None]]:
    """Where reports go. On a terminal each replaces the previous one, and the last one stays."""
    page = Page()
    if not page.is_terminal or page.is_dumb_terminal:
        yield _write
        return
    last = ""

    def replace(text: str) -> None:
        nonlocal last
        # The last row stays free: the line break after a full screen would scroll its first row away.
        lines, height = text.splitlines(), shutil.get_terminal_size().lines - 1
        if (hidden := len(lines) - height) > 0:
            lines[height - 1 :] = [f"… and {hidden + 1} more lines: a taller window shows them"]
        _write(("" if last else _ENTER) + _HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_REST)
        last = text

    try:
        yield replace
    finally:
        if last:
            _write(_LEAVE + last)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
