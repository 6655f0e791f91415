"""Progress of long verbs: a bar at a terminal once the work takes time, else lines now and then."""

import asyncio
from io import StringIO

import pytest
from rich.console import Console

from worker.tools.cli import progress
from worker.tools.cli.progress import RecordProgress, display


def shown(*, is_terminal: bool, total: int = 100) -> str:
    """Everything that a piece of work shows."""
    console = Console(file=StringIO(), force_terminal=is_terminal, width=80, highlight=False)
    with display(console, line_seconds=0.0) as drawn:
        work = RecordProgress(drawn, asyncio.Event())
        work.begin("auditing", total)
        work.advance(total)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_short_work_draws_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal does not flicker."""
    monkeypatch.setattr(progress, "BAR_SECONDS", 60.0)  # a crowded machine may take a second for anything
    assert shown(is_terminal=True) == "auditing: 100 records\n"
    assert shown(is_terminal=True, total=0) == ""


def test_long_work_draws_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes it away at the end."""
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.0)
    assert "━" in shown(is_terminal=True)


def test_pipe_has_lines() -> None:
    """Without control characters."""
    assert shown(is_terminal=False) == "auditing: 100 records\nauditing: 100 of 100\n"
