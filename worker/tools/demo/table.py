"""How the stream looks while it runs: a live table on a terminal, a line a second elsewhere."""

import time
from collections import Counter
from types import TracebackType
from typing import Protocol, Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from worker.tools.demo.glimpses import KEPT, Glimpse
from worker.tools.demo.makers import makers
from worker.tools.demo.play import Play
from worker.tools.demo.tally import COLUMNS, STRANGERS, Tally

STYLES = {"created": "green", "replayed": "cyan", "overage": "yellow", "conflict": "magenta", "rejected": "red"}

_ROOM_FOR_PLANS = 98
"""Characters a line from which on the plans are shown."""


class View(Protocol):
    """Shows a play; enter it before, leave it after."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, play: Play) -> None:
        """Called about ten times a second."""
        ...


class LiveView:
    """The table, drawn in place; its last state stays on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, play: Play) -> None:
        """See `View`."""
        self._live.update(picture(play, self._console.width), refresh=True)


class PlainView:
    """A line a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def show(self, play: Play) -> None:
        """See `View`."""
        now = time.monotonic()
        if now - self._shown < 1.0:
            return
        self._shown = now
        totals = _totals(play.tally)
        outcomes = "  ".join(f"{column} {totals.get(column, 0):,}" for column in COLUMNS)
        self._console.print(
            f"  {now - play.started:5.1f} s  in {len(play.tally.sent):,}  out {len(play.tally.answered):,}  {outcomes}",
            soft_wrap=True,
        )


def picture(play: Play, width: int) -> Group:
    """Progress, the table, speed, and a few events."""
    events = [_line(glimpse) for glimpse in play.glimpses.kept]
    padding = [Text("")] * (KEPT - len(events))  # so that the picture does not grow
    return Group(_progress(play), _table(play.tally, width), _speed(play), Text(""), *events, *padding)


def _progress(play: Play) -> Table:
    grid = Table.grid(padding=(0, 1))
    answered = len(play.tally.answered)
    bar = ProgressBar(total=play.count, completed=answered, width=60)
    grid.add_row(Text(" answered"), bar, Text(f"{answered:,} of {play.count:,}", style="bold"))
    return grid


def _table(tally: Tally, width: int) -> Table:
    table = Table(show_footer=True, box=box.SIMPLE, padding=(0, 0, 0, 1), pad_edge=False)
    totals = _totals(tally)
    table.add_column("company", footer="all", no_wrap=True)
    if width >= _ROOM_FOR_PLANS:
        table.add_column("plan", style="dim", no_wrap=True)
    for column in ("in", *COLUMNS):
        style = STYLES.get(column, "bold")
        footer = _count(totals, column)
        table.add_column(column, justify="right", style=style, footer=footer, min_width=6, no_wrap=True)
    for name, plan in [*((maker.name, maker.plan) for maker in makers()), (STRANGERS, "no or unknown key")]:
        counts = tally.senders.get(name, Counter[str]())
        words = (name, plan) if width >= _ROOM_FOR_PLANS else (name,)
        table.add_row(*words, *(_count(counts, column) for column in ("in", *COLUMNS)))
    return table


def _totals(tally: Tally) -> dict[str, int]:
    columns = ("in", *COLUMNS)
    return {column: sum(counts[column] for counts in tally.senders.values()) for column in columns}


def _count(counts: dict[str, int], column: str) -> str:
    number = counts.get(column, 0)
    return f"{number:,}" if number else "·"


def _speed(play: Play) -> Text:
    tally = play.tally
    now = time.monotonic() if tally.waiting else play.last_news  # the last picture tells how fast it was
    median, high = (tally.recent_latency(share) * 1000 for share in (0.5, 0.95))
    return Text(
        f" in {tally.rate_in.at(now):.0f}/s   out {tally.rate_out.at(now):.0f}/s   waiting {tally.waiting}   "
        f"latency p50 {median:.0f} ms, p95 {high:.0f} ms",
        style="bold",
    )


def _line(glimpse: Glimpse) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f" {glimpse.clock} ", style="dim")
    text.append(f"{glimpse.sender:<17}{glimpse.story:<16}")
    text.append(f"{glimpse.what:<25.25}", style="dim")
    text.append(f" {glimpse.status} {glimpse.answer}", style=STYLES[glimpse.column])
    return text
