"""`lanes --watch` repeats the report: in place at a terminal, one below the other in a pipe, until it is cancelled."""

import asyncio
import io
import re
from collections.abc import Iterator

import pytest

from tests.unit.lane_reports import lane_report
from worker.tools.common.lane_report import LanesReport, LaneState
from worker.tools.common.report import Problem
from worker.tools.lanes import watch as module
from worker.tools.lanes.command_line import _as_page
from worker.tools.lanes.watch import until_answered, watch

EIGHT: tuple[LaneState, ...] = ("in-step",) * 8


class Output(io.StringIO):
    """Stdout, perhaps of a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """As `is_terminal` says."""
        return self._is_terminal


def _report(*states: LaneState) -> LanesReport:
    return LanesReport(
        group="g", lanes=tuple(lane_report(partition, state=state) for partition, state in enumerate(states))
    )


async def _watched(monkeypatch: pytest.MonkeyPatch, reports: list[LanesReport], *, is_terminal: bool) -> str:
    """What `watch` writes of these reports until the task is cancelled."""
    output = Output(is_terminal=is_terminal)
    monkeypatch.setattr("sys.stdout", output)
    monkeypatch.setattr(module, "WATCH_SECONDS", 0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "7")
    remaining: Iterator[LanesReport] = iter(reports)

    async def look() -> LanesReport:
        if (report := next(remaining, None)) is None:
            raise asyncio.CancelledError
        return report

    await watch(look, _as_page)
    return re.sub(r"\x1b\[[\d;]*m", "", output.getvalue())  # without bold and dim


async def test_pipe_gets_report_after_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its time and its sum, without an escape, and with an empty line behind it."""
    written = await _watched(monkeypatch, [_report("in-step", "halted"), _report("in-step")], is_terminal=False)
    first, second, end = written.split("\n\n")
    assert "\x1b" not in written
    assert first.splitlines()[0].endswith("Z  1 in-step, 1 halted")
    assert second.splitlines()[0].endswith("Z  1 in-step, 0 halted")
    assert [len(first.splitlines()), len(second.splitlines()), end] == [4, 3, ""]


async def test_terminal_shows_one_report_and_keeps_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a second screen, from its start; then the first screen and the cursor are back."""
    written = await _watched(monkeypatch, [_report("behind"), _report("in-step")], is_terminal=True)
    screen, last = written.split("\x1b[?25h\x1b[?1049l")
    assert screen.startswith("\x1b[?1049h\x1b[?25l\x1b[H")
    assert screen.count("\x1b[H") == 2
    assert screen.count("\x1b[?1049h") == 1
    assert last.splitlines()[0].endswith("Z  1 in-step, 0 halted")


async def test_lanes_that_are_not_in_step_stay_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a window is too low, they go first, and the last line says how many are hidden."""
    written = await _watched(monkeypatch, [_report(*EIGHT, "halted")], is_terminal=True)
    screen, last = written.split("\x1b[?25h\x1b[?1049l")
    lines = screen.splitlines()
    assert lines[0].removesuffix("\x1b[K").endswith("Z  8 in-step, 1 halted")
    assert lines[2].split()[:2] == ["8", "halted"]
    assert lines[5] == "… and 6 more lines: a taller window shows them\x1b[K"
    assert len(last.splitlines()) == 11


async def test_nothing_is_written_if_nothing_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a server is away leaves the terminal as it was."""
    assert await _watched(monkeypatch, [], is_terminal=True) == ""


async def test_waiting_says_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each time that it begins: a wrong address or channel would be waited for in silence."""
    monkeypatch.setattr(module, "WATCH_SECONDS", 0)
    away = LanesReport(group="g", lanes=(), problems=(Problem(code="kafka-away", text="Kafka is away."),))
    reports = iter([away, away, LanesReport(group="g", lanes=()), away, _report("halted")])
    said = list[str]()

    async def look() -> LanesReport:
        return next(reports)

    assert (await until_answered(look, said.append)).lanes[0].state == "halted"
    assert said == ["waiting: Kafka is away."] * 2


@pytest.mark.parametrize("code", ["postgres-away", "kafka-away"])
async def test_a_server_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Also where the other one shows that nothing waits. Seen to fail before: it said `waiting:`, and ended with 1."""
    monkeypatch.setattr(module, "WATCH_SECONDS", 0)
    away = LanesReport(
        group="g", lanes=(lane_report(0, state="unknown"),), problems=(Problem(code=code, text="Away."),)
    )
    reports = iter([away, LanesReport(group="g", lanes=(lane_report(0),))])

    async def look() -> LanesReport:
        return next(reports)

    assert (await until_answered(look, lambda text: None)).ok
