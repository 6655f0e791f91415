"""`python -m tests.monitoring.picture [FILE]`: a run of the worker, drawn from what a real Prometheus scraped of it."""

import asyncio
import re
import sys
from io import StringIO
from math import nan
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.monitoring.panels import ROWS, Panel
from tests.monitoring.prometheus import Series
from tests.monitoring.queries import filled
from tests.monitoring.rules import MONITORING
from tests.monitoring.run import END, Run, run

PICTURE = MONITORING / "run.svg"
SHOWN = {
    "Results by outcome": "results a second",
    "Oldest command by lane": "seconds",
    "Delay of results": "seconds",
    "Commands behind by lane": "commands",
    "Postgres transaction": "seconds",
    "Partitions by worker": "partitions",
}
"""Panels of the dashboard, and what their axes count."""
_LOGARITHMIC = ("Results by outcome", "Delay of results", "Commands behind by lane", "Postgres transaction")
_INTERVAL = "5s"


def draw(seen: Run) -> Figure:
    """Six panels of the dashboard, by its own expressions."""
    mpl.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True})
    mpl.rcParams.update({"grid.alpha": 0.3, "lines.linewidth": 1.2, "svg.fonttype": "none", "svg.hashsalt": "run"})
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    panels = {panel.title: panel for _, row in ROWS for panel in row}
    for axes, (title, unit) in zip(figure.subplots(2, 3, sharex=True).flat, SHOWN.items(), strict=True):
        _draw_panel(axes, panels[title], unit, seen)
    figure.suptitle(", ".join(f"{at:.0f} s: {text}" for at, text in seen.marks), fontsize=9)
    figure.supxlabel("seconds; two workers, six partitions, 300 commands a second", fontsize=9)
    return figure


def _draw_panel(axes: Any, panel: Panel, unit: str, seen: Run) -> None:
    axes.set_title(panel.title, loc="left", fontweight="bold")
    axes.set_ylabel(unit)
    for query in panel.queries:
        found = seen.prometheus.query_range(filled(query.expression, _INTERVAL), seen.started, seen.started + END)
        for one in sorted(found, key=lambda one: sorted(one["metric"].items())):
            style = "--" if len(axes.lines) % 2 else "-"  # one line on another must not hide it
            axes.plot(*_line(one, seen.started), style, label=_legend(query.legend, one["metric"]))
    logarithmic = panel.title in _LOGARITHMIC
    if logarithmic:
        axes.set_yscale("symlog", linthresh=0.01 if unit == "seconds" else 1)
    axes.set_ylim(0, axes.get_ylim()[1] * (10 if logarithmic else 1.4))  # room for the legend
    axes.set_xlim(0, END)
    for at, _ in seen.marks:
        axes.axvline(at, color="black", linestyle=":", linewidth=1)
    title = "partition" if panel.title.endswith("by lane") else None
    axes.legend(loc="upper right", fontsize=7, framealpha=0.8, title=title, title_fontsize=7, ncols=2)


def _line(one: Series, started: float) -> tuple[list[float], list[float]]:
    """Seconds after the start, and values; a hole where there was nothing to scrape."""
    at: list[float] = []
    values: list[float] = []
    for moment, value in one["values"]:
        if at and moment - started - at[-1] > 1.5:
            at.append(at[-1])
            values.append(nan)
        at.append(moment - started)
        values.append(float(value))
    return at, values


def _legend(pattern: str, labels: dict[str, str]) -> str:
    """As Grafana fills it in."""
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), pattern).strip()


def as_svg(figure: Figure) -> str:
    """The same bytes for the same figure; a hundredth of a point is fine enough."""
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", text.getvalue())


async def main() -> None:
    """Command line of this module."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    async with run() as seen:
        target.write_text(as_svg(draw(seen)), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
