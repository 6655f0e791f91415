"""Calculates a bar chart of an hour, which a template draws as SVG. X in percent, y in pixels. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.tools.console.activity import ANSWERS
from worker.tools.console.report import MinuteActivity

TOP, BASE = 16.0, 150.0
"""Top and bottom of the scale; times are below it."""
_GAP = 0.25
"""Space between bars, as a share of a minute's width."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a minute's bar."""

    outcome: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A minute. `counts` follow the order of `ANSWERS`, from the bottom of the bar."""

    minute: datetime
    x: float
    width: float
    counts: tuple[int, ...]
    pieces: tuple[Piece, ...]

    @property
    def total(self) -> int:
        """All answers of the minute."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars from the left, lines of the scale as (y, number), and totals of the hour by outcome."""

    bars: tuple[Bar, ...]
    lines: tuple[tuple[float, int], ...]
    totals: dict[str, int]


def chart(minutes: Sequence[MinuteActivity]) -> Chart:
    """The chart of these minutes, oldest first."""
    counts = [tuple(getattr(minute, outcome) for outcome in ANSWERS) for minute in minutes]
    top = nice_top(max(map(sum, counts), default=0))
    plot = BASE - TOP
    step = 100 / max(1, len(minutes))
    bars = tuple(
        Bar(
            minute.minute,
            round(number * step + step * _GAP / 2, 2),
            round(step * (1 - _GAP), 2),
            counted,
            _pieces(counted, plot / top),
        )
        for number, (minute, counted) in enumerate(zip(minutes, counts, strict=True))
    )
    lines = tuple((round(TOP + plot * (1 - share), 2), round(top * share)) for share in (0, 0.5, 1))
    totals = {outcome: sum(counted[index] for counted in counts) for index, outcome in enumerate(ANSWERS)}
    return Chart(bars, lines, totals)


def nice_top(largest: int) -> int:
    """The end of the scale: the first of 2, 4, 10, 20, 40, 100, … that is not smaller."""
    top, steps = 2, (2, 2.5, 2)
    number = 0
    while top < largest:
        top = round(top * steps[number % 3])
        number += 1
    return top


def _pieces(counts: Sequence[int], scale: float) -> tuple[Piece, ...]:
    """Every count gets at least one pixel, so that one refusal among thousands can be seen."""
    pieces, y = list[Piece](), BASE
    for outcome, count in zip(ANSWERS, counts, strict=True):
        if count:
            height = max(1.0, count * scale)
            y -= height
            pieces.append(Piece(outcome, round(y, 2), round(height, 2)))
    return tuple(pieces)
