"""How a report of the operators' verbs is shown: a table and what is wrong, or one JSON document; and the exit code."""

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
"""So many are shown to people; JSON has all of them."""


def show(report: Report, *, as_json: bool, draw: Callable[[Console], None]) -> NoReturn:
    """Print a report and exit: 0 where nothing is wrong, else 1. `draw` shows what the verb has found to people."""
    if as_json:
        print(report.model_dump_json(by_alias=True, indent=2))
        sys.exit(0 if report.ok else 1)
    console = Console(highlight=False)
    draw(console)
    for one in report.problems[:_MOST_PROBLEMS]:
        place = "" if one.place is None else f"{one.place}: "
        console.print(Text.assemble((one.code, "red"), f" {printable(place + one.text)}"), soft_wrap=True)
    if (others := len(report.problems) - _MOST_PROBLEMS) > 0:
        console.print(f"and {others} more; --json has all of them")
    sys.exit(0 if report.ok else 1)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """A plain table; `right` names the columns of numbers. What is not known is shown as a dash."""
    made = Table(*(), box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text("-" if cell is None else printable(str(cell))) for cell in row))
    return made


def say(text: str) -> None:
    """Print it, whatever the terminal's encoding can show."""
    encoding = sys.stdout.encoding
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def leave_closed_pipe(code: int) -> NoReturn:
    """Whoever reads our output has seen enough: Python's own flush at the end must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
