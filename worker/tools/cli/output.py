"""Shows a report: a table and problems for people, or a JSON document; and exits."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.messages.hints import printable
from worker.tools.common.report import Report

_MOST_PROBLEMS = 100
"""Problems shown to people; JSON has all of them."""


def show(report: Report, *, as_json: bool, draw: Callable[[Console], None]) -> NoReturn:
    """Print a report, with `draw` or as JSON, and exit with 0, or with 1 if it has problems."""
    if as_json:
        print(report.model_dump_json(by_alias=True, indent=2))
        sys.exit(0 if report.ok else 1)
    console = Console(highlight=False)
    draw(console)
    for problem in report.problems[:_MOST_PROBLEMS]:
        place = "" if problem.place is None else f"{problem.place}: "
        console.print(Text.assemble((problem.code, "red"), f" {printable(place + problem.text)}"), soft_wrap=True)
    if (others := len(report.problems) - _MOST_PROBLEMS) > 0:
        console.print(f"and {others} more; --json has all of them")
    sys.exit(0 if report.ok else 1)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """A plain table. `right` names columns of numbers; None is shown as a dash."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text("-" if cell is None else printable(str(cell))) for cell in row))
    return made


def say(text: str) -> None:
    """Print a text, with escapes for characters that the terminal's encoding lacks."""
    encoding = sys.stdout.encoding
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def leave_closed_pipe(code: int) -> NoReturn:
    """Exit after the reader of our output has gone, without the error of Python's last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
