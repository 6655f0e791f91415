"""Progress of `submit` on stderr: a bar with rate and outcomes on a terminal, elsewhere a line every five seconds."""

import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worker.tools.cli.progress import LINE_SECONDS
from worker.tools.submit.row import OUTCOMES

_RATE_SECONDS = 5.0
"""Over which the rate is taken."""


def counted(outcomes: Mapping[str, int]) -> str:
    """How many rows have which outcome; those that no row has are left out."""
    return ", ".join(f"{outcomes[one]:,} {one}" for one in OUTCOMES if outcomes.get(one))


class View(Protocol):
    """Where progress is shown; `total` is None as long as nobody knows it."""

    def show(self, what: str, done: int, total: int | None, note: str) -> None:
        """Called often."""
        ...


class SubmitProgress:
    """What is being done, how fast, and what came of it."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._seen: deque[tuple[float, int]] = deque()

    def checked(self, rows: int) -> None:
        """So many rows were looked at."""
        self._view.show("checking rows", rows, None, "")

    def answered(self, outcomes: Counter[str], total: int) -> None:
        """So many of all rows have an answer."""
        now, done = time.monotonic(), outcomes.total()
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[0][0] < now - _RATE_SECONDS:
            self._seen.popleft()
        began, before = self._seen[0]
        rate = (done - before) / (now - began) if now > began else 0.0
        self._view.show("answered", done, total, f"{rate:,.0f}/s  {counted(outcomes)}")


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None, note="")

    def show(self, what: str, done: int, total: int | None, note: str) -> None:
        self._bar.update(self._task, description=what, completed=done, total=total, note=note)


class _Lines:
    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def show(self, what: str, done: int, total: int | None, note: str) -> None:
        if time.monotonic() - self._told_at >= LINE_SECONDS:
            self._told_at = time.monotonic()
            of = "" if total is None else f" of {total:,}"
            print(f"{what}: {done:,}{of}{'  ' if note else ''}{note}", file=sys.stderr, flush=True)


@contextmanager
def shown() -> Iterator[SubmitProgress]:
    """A progress that is shown as long as the context lasts."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield SubmitProgress(_Lines())
        return
    note = TextColumn("{task.fields[note]}", markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note)
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        yield SubmitProgress(_Bar(bar))
