"""An hour's outcomes a minute as numbers of an SVG, which a template draws: pure. Across in percent, down in pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.tools.console.activity import ANSWERS
from worker.tools.console.report import MinuteActivity

TOP, BASE = 16.0, 150.0
"""Where the scale ends and begins; the times stand below."""
_GAP = 0.25
"""Between bars, as a share of a minute's width."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a minute's bar."""

    outcome: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A minute; `counts` are those of `ANSWERS`, the first of which is at the bottom of the bar."""

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
    """Bars from the left, `lines` of the scale as (y, number), and `totals` of the hour, by outcome."""

    bars: tuple[Bar, ...]
    lines: tuple[tuple[float, int], ...]
    totals: dict[str, int]


def chart(minutes: Sequence[MinuteActivity]) -> Chart:
    """Of all minutes, oldest first."""
    counts = [tuple(getattr(one, outcome) for outcome in ANSWERS) for one in minutes]
    top = nice_top(max((sum(one) for one in counts), default=0))
    plot = BASE - TOP
    step = 100 / max(1, len(minutes))
    bars = tuple(
        Bar(
            one.minute,
            round(number * step + step * _GAP / 2, 2),
            round(step * (1 - _GAP), 2),
            counted,
            _pieces(counted, plot / top),
        )
        for number, (one, counted) in enumerate(zip(minutes, counts, strict=True))
    )
    lines = tuple((round(TOP + plot * (1 - share), 2), round(top * share)) for share in (0, 0.5, 1))
    totals = {outcome: sum(one[place] for one in counts) for place, outcome in enumerate(ANSWERS)}
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
    """At least a pixel of what there is: one refusal among thousands is seen."""
    found, y = list[Piece](), BASE
    for outcome, count in zip(ANSWERS, counts, strict=True):
        if count:
            height = max(1.0, count * scale)
            y -= height
            found.append(Piece(outcome, round(y, 2), round(height, 2)))
    return tuple(found)
