"""How verbs print: tables, texts, colours of status, and a report with its exit code.

Piped output has no width, so a row is one line. At a terminal, columns of little value go first when the width is
short; then texts wrap between words. Identifiers and JSON are never folded, cut or wrapped.
"""

import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, zip_longest
from typing import Annotated, Any, NoReturn

from cyclopts import Parameter
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.text import Text

from worker.messages.hints import printable
from worker.messages.rules import REPLAYED, ROWS, Kind
from worker.tools.common.report import SomeReport

AsJson = Annotated[bool, Parameter(name="--json", help="Print one JSON document (schemas/operations).")]
"""The option of verbs that `show` a report."""

_MOST_PROBLEMS = 100
"""Problems shown to people; JSON has all of them."""

_NO_WIDTH = 1_000_000
_GAP = "  "
# A text wraps to this width before a column is left out for it, and never to less than the second one.
_WIDE_TEXT, _NARROW_TEXT = 40, 20

_BY_KIND = {Kind.CREATED: "green", Kind.OVERAGE_REQUIRED: "yellow", Kind.CONFLICT: "magenta", Kind.REJECTED: "red"}
_GOOD, _UNUSUAL, _WRONG, _FAINT = "green", "yellow", "red", "dim"
STYLES: Mapping[str, str] = {
    **{row.code: _BY_KIND[row.kind] for row in ROWS.values()},
    **{kind.label: style for kind, style in _BY_KIND.items()},
    REPLAYED: "cyan",
    **dict.fromkeys(("ok", "good", "in-step", "valid", "added", "published", "visible"), _GOOD),
    **dict.fromkeys(("warning", "behind", "unowned", "unknown", "revoked-later", "changed"), _UNUSUAL),
    **dict.fromkeys(("failed", "bad", "refused", "revoked", "removed", "finding"), _WRONG),
    "halted": "bold red",
    **dict.fromkeys(("skipped", "never-run", "not-served"), _FAINT),
}
"""The colour of each word for a status or an outcome."""
_NOUNS = ("warning", "finding")
"""The words that have a plural."""


def status(word: str | None) -> Text:
    """A word for a status or an outcome, in its colour. None becomes a dash."""
    return Text("-") if word is None else Text(printable(word), STYLES.get(word, ""))


def tally(counts: Mapping[str, int]) -> Text:
    """The last line of a report, such as `23 ok, 1 warning, 0 failed`. A word with the count 0 is dim."""
    parts = []
    for word, count in counts.items():
        plural = "s" if word in _NOUNS and count != 1 else ""
        parts.append(Text(f"{count:,} {word}{plural}", STYLES.get(word, "") if count else _FAINT))
    return Text(", ").join(parts)


class Page(Console):
    """Stdout as verbs write to it: no markup, no highlights, and no width unless it is a terminal."""

    def __init__(self, width: int | None = None) -> None:
        """By default the width is the terminal's."""
        if width is None and not sys.stdout.isatty():
            width = _NO_WIDTH
        super().__init__(width=width, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> NoReturn:
        """Leave the error to `main`: rich itself would exit here, before a verb can say what is lost."""
        raise BrokenPipeError

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """Print tables, and texts, which wrap between words unless they are `copyable` or `soft_wrap` is set."""
        texts = (Text(item) if isinstance(item, str) else item for item in objects)
        lines = (
            Text("\n").join(wrapped(text, self.width))
            if isinstance(text, Text) and not (text.no_wrap or soft_wrap)
            else text
            for text in texts
        )
        super().print(*lines, soft_wrap=True, **options)


def show(
    report: SomeReport, *, as_json: bool, draw: Callable[[Page, SomeReport], None], last: str | Text | None = None
) -> NoReturn:
    """Print a report, with `draw` or as JSON, and `last` as its last line. Exit with 1 if it has problems, else 0."""
    if as_json:
        print(report.model_dump_json(by_alias=True, indent=2))
    else:
        draw_report(Page(), report, draw, last)
    sys.exit(0 if report.ok else 1)


def draw_report(
    page: Page, report: SomeReport, draw: Callable[[Page, SomeReport], None], last: str | Text | None = None
) -> None:
    """Print a report with `draw`, its problems, and `last` as its last line."""
    draw(page, report)
    for problem in report.problems[:_MOST_PROBLEMS]:
        place = "" if problem.place is None else f"{problem.place}: "
        page.print(Text.assemble((problem.code, _WRONG), f" {printable(place + problem.text)}"))
    if (others := len(report.problems) - _MOST_PROBLEMS) > 0:
        page.print(f"and {others} more; --json has all of them")
    if last is not None:
        page.print(last)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below a line of names, for `Page.print`; nothing if there are no rows.

    A row has one cell per column: None becomes a dash, and `status` gives a word its colour. `right` are columns of
    numbers. `wraps` are columns of texts, which may wrap between words; all others hold identifiers, which never wrap.
    Columns of `spare` are left out if the terminal is too narrow, in this order.
    """

    columns: Sequence[str]
    rows: Iterable[Sequence[object]]
    right: Collection[str] = ()
    wraps: Collection[str] = ()
    spare: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield the lines that fit into the width."""
        rows = [[_cell(value) for value in row] for row in self.rows]
        if not rows:
            return
        natural = {
            name: max(cell_len(name), *(row[at].cell_len for row in rows)) for at, name in enumerate(self.columns)
        }
        spare = [name for name in self.spare if name in natural]
        while spare and self._least(natural) > options.max_width:
            del natural[spare.pop(0)]
        widths = self._fitted(natural, options.max_width)
        yield self._line([Text(name, "bold") for name in widths], widths)
        at = [self.columns.index(name) for name in widths]
        for row in rows:
            cells = [
                wrapped(row[index], width) if name in self.wraps else [row[index]]
                for index, (name, width) in zip(at, widths.items(), strict=True)
            ]
            for line in zip_longest(*cells, fillvalue=Text()):
                yield self._line(line, widths)

    def _least(self, natural: Mapping[str, int]) -> int:
        """The width of a line whose texts are wrapped, but not yet narrow."""
        least = (min(width, _WIDE_TEXT) if name in self.wraps else width for name, width in natural.items())
        return sum(least) + len(_GAP) * (len(natural) - 1)

    def _fitted(self, natural: Mapping[str, int], width: int) -> dict[str, int]:
        """The widths of columns. The widest texts shrink first."""
        widths = dict(natural)
        texts = [name for name in widths if name in self.wraps]
        excess = sum(widths.values()) + len(_GAP) * (len(widths) - 1) - width
        while excess > 0 and texts and widths[widest := max(texts, key=widths.__getitem__)] > _NARROW_TEXT:
            widths[widest] -= 1
            excess -= 1
        return widths

    def _line(self, cells: Iterable[Text], widths: Mapping[str, int]) -> Text:
        line = Text(no_wrap=True)
        for cell, (name, width) in zip(cells, widths.items(), strict=True):
            padding = " " * (width - cell.cell_len)
            before, behind = (padding, _GAP) if name in self.right else ("", padding + _GAP)
            line.append(before).append_text(cell).append(behind)
        line.rstrip()
        return line


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    return Text("-" if value is None else printable(str(value)))


def copyable(text: str) -> Text:
    """A text, with control characters escaped, that never wraps and so can be copied from the terminal."""
    return Text("\n".join(map(printable, text.splitlines())), no_wrap=True)


def wrapped(text: Text, width: int) -> list[Text]:
    """The lines of a text, broken between words only: rich folds a word that is longer than the width."""
    lines = []
    for line in text.split("\n", allow_blank=True):
        # Nothing may be dropped or replaced: the styles of `line` refer to positions of characters.
        parts = textwrap.wrap(
            line.plain, width, break_long_words=False, break_on_hyphens=False, drop_whitespace=False,
            replace_whitespace=False, expand_tabs=False,
        )  # fmt: skip
        for at, part in enumerate(line.divide(list(accumulate(map(len, parts)))[:-1])):
            part.rstrip()
            lines.append(part if at == 0 else part[len(part) - len(part.plain.lstrip()) :])
    return lines
