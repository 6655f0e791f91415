"""Progress on stderr: a bar on a terminal, elsewhere a line every five seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from worker.tools.common.progress import Progress

LINE_SECONDS = 5.0


class _Bars:
    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def begin(self, what: str, total: int) -> None:
        self._bar.print(what)  # it stays, with the id of a replay, when the bar has gone
        self._task = self._bar.add_task(what, total=total)

    def advance(self, records: int) -> None:
        if self._task is not None:
            self._bar.advance(self._task, records)


class _Lines:
    def __init__(self) -> None:
        self._what, self._done, self._total = "", 0, 0
        self._told_at = time.monotonic()

    def begin(self, what: str, total: int) -> None:
        self._what, self._done, self._total = what, 0, total
        print(f"{what}: {total:,} records", file=sys.stderr, flush=True)

    def advance(self, records: int) -> None:
        self._done += records
        if time.monotonic() - self._told_at >= LINE_SECONDS:
            self._told_at = time.monotonic()
            print(f"{self._what}: {self._done:,} of {self._total:,}", file=sys.stderr, flush=True)


@contextmanager
def shown() -> Iterator[Progress]:
    """A progress that is shown as long as the context lasts."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        yield _Bars(bar)
