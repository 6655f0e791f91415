"""Progress of long commands: a bar on a terminal, elsewhere a line every few seconds."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from worker.tools.common.progress import Progress

LINE_SECONDS = 5.0
BAR_SECONDS = 0.5


class _Bar:
    """A bar that is drawn once the work has taken `BAR_SECONDS`: shorter work would only make the terminal flicker."""

    def __init__(self, progress: RichProgress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, note="")
        self._begun_at = time.monotonic()
        self._is_drawn = False

    def say(self, text: str) -> None:
        self._progress.print(text)

    def show(self, what: str, done: int, total: int | None, note: str = "") -> None:
        self._progress.update(self._task, description=what, completed=done, total=total, note=note)
        if not self._is_drawn and time.monotonic() - self._begun_at >= BAR_SECONDS:
            self._is_drawn = True
            self._progress.start()

    def end(self) -> None:
        """Remove the bar."""
        if self._is_drawn:
            self._progress.stop()


class _Lines:
    def __init__(self, console: Console, line_seconds: float) -> None:
        self._console, self._line_seconds = console, line_seconds
        self._shown_at = time.monotonic()

    def say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def show(self, what: str, done: int, total: int | None, note: str = "") -> None:
        if time.monotonic() - self._shown_at >= self._line_seconds:
            self._shown_at = time.monotonic()
            of = "" if total is None else f" of {total:,}"
            self.say(f"{what}: {done:,}{of}{'  ' if note else ''}{note}")


# Shows one piece of work at a time. `show` says how far `what` has come, and may be called at any rate; `total`
# is None while it is unknown. `say` prints a line that stays when the bar has gone.
Display = _Bar | _Lines


class RecordProgress(Progress):
    """The progress of operators' verbs on a display. Each `advance` is a safe point, at which a long verb can end."""

    def __init__(self, display: Display, stop: asyncio.Event) -> None:
        self._display, self._stop = display, stop
        self._what, self._done, self._total = "", 0, 0

    def begin(self, what: str, total: int) -> None:
        """See `Progress`."""
        self._what, self._done, self._total = what, 0, total
        if total:
            records = "record" if total == 1 else "records"
            self._display.say(f"{what}: {total:,} {records}")  # with the id of a replay, which is needed to resume it

    def advance(self, records: int) -> None:
        """See `Progress`. Raises `CancelledError` after a signal."""
        self._done += records
        self._display.show(self._what, self._done, self._total)
        if self._stop.is_set():
            raise asyncio.CancelledError


@contextmanager
def display(
    console: Console | None = None, *, live: bool = True, line_seconds: float = LINE_SECONDS
) -> Iterator[Display]:
    """A display on a console, by default stderr. It draws a bar if `live` and the console is a terminal."""
    console = console or Console(stderr=True, highlight=False, markup=False)
    if not (live and console.is_terminal):
        yield _Lines(console, line_seconds)
        return
    note = TextColumn("{task.fields[note]}", markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note)
    # Rows that `submit` prints go through the bar only if both are on the same terminal.
    redirect = sys.stdout.isatty()
    bar = _Bar(RichProgress(*columns, console=console, transient=True, redirect_stdout=redirect))
    try:
        yield bar
    finally:
        bar.end()
