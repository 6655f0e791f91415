"""Maps the columns of a spreadsheet to the fields of a command."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.domain import gs1
from worker.messages.body import LACKS_PARTY_ID
from worker.messages.hints import printable
from worker.messages.json_value import JsonObject
from worker.tools.common.answering import NAMES
from worker.tools.common.hints import did_you_mean
from worker.tools.submit.cells import flaw_of, hint, may_be_spoiled
from worker.tools.submit.encodings import UTF8
from worker.tools.submit.fields import CONFIRM, GTIN, PATHS, REQUIRED, did_you_mean_field, meant_field
from worker.tools.submit.table import BadFile, Fault

_BOOLEANS = {"true": True, "wahr": True, "false": False, "falsch": False}
"""Booleans as Excel saves them in English and in German."""
_LONGEST_SHOWN = 60

ANSWER_COLUMNS = tuple(f"answer.{name}" for name in NAMES)
"""Columns that an answers file adds to those of its input. In an answers file as input, they are not fields."""


@dataclass(frozen=True, slots=True)
class Choices:
    """How to read a file: encoding, fields of columns with other names, values for all rows, columns to leave out."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    ignored: Sequence[str] = ()
    pad_gtin: bool = False
    confirm_overage: bool = False
    encoding: str = UTF8

    def values(self) -> Iterator[tuple[str, object]]:
        """Path and value of each field that all bodies get."""
        for path, text in self.fixed.items():
            if not (path == CONFIRM and self.confirm_overage):
                yield path, _reading(path, self)(text)
        if self.confirm_overage:
            yield CONFIRM, True

    def problems(self) -> Iterator[str]:
        """Errors in these options that show without a header."""
        for option, paths in (("--map", self.renamed.values()), ("--set", self.fixed)):
            for path in paths:
                if path not in PATHS:
                    yield f"{option}: expected the path of a field, got {path!r}{did_you_mean_field(path)}"
        for path, text in self.fixed.items():
            if gs1.UNSAFE_TEXT.search(text):
                yield f"--set {path}: expected no control characters, and UTF-8"


def fill(body: JsonObject, path: Sequence[str], value: object) -> None:
    """Set a value, and create the objects that lead to it. Raises `ValueError` if another value is in their place."""
    for name in path[:-1]:
        inner = body.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ValueError(f"{name}: expected an object")
        body = inner
    body[path[-1]] = value


class _Column(NamedTuple):
    at: int
    path: tuple[str, ...]
    read: Callable[[str], object]


class Columns:
    """The columns of a header line. Raises `BadFile`, which says everything that is wrong with them."""

    def __init__(self, header: Sequence[str], choices: Choices) -> None:
        if problems := [*choices.problems(), *_problems(header, choices)]:
            raise BadFile("\n  ".join(("the columns cannot be used:", *problems)))
        self.header = tuple(header)
        self.kept = tuple(index for index, name in enumerate(header) if name not in ANSWER_COLUMNS)
        """Indexes of the columns that an answers file repeats."""
        self._fixed = [(tuple(path.split(".")), value) for path, value in choices.values()]
        fixed = {path for path, _ in choices.values()}
        self._fields = {path: index for index, path in _fields(header, choices) if path not in fixed}
        self._unnamed = [at for at, name in enumerate(header) if not name and name not in choices.ignored]
        self._pads_gtin = choices.pad_gtin
        self._columns = [
            _Column(index, tuple(path.split(".")), _reading(path, choices)) for path, index in self._fields.items()
        ]

    def body(self, cells: Sequence[str]) -> JsonObject:
        """The body that a row's cells make. An empty cell is a field that is not sent."""
        body: JsonObject = {}
        for path, value in self._fixed:
            fill(body, path, value)
        for at, path, read in self._columns:
            if text := cells[at]:
                fill(body, path, read(text))
        return body

    def spoiled(self, cells: Sequence[str]) -> Iterator[tuple[str, Fault]]:
        """Path and fault of each cell that a spreadsheet has spoiled, and of cells in columns without a name."""
        for path, at in self._fields.items():
            if may_be_spoiled(cell := cells[at]) and (flaw := flaw_of(path, cell)) is not None:
                yield path, Fault(printable(f"column {self._name(path)}: {flaw.text}"), _quoted(cell), flaw.advice)
        for at in self._unnamed:
            if cells[at]:
                text = f"expected no cell in column {at + 1}, which has no name in the header line"
                yield "", Fault(text, _quoted(cells[at]))

    def fault(self, path: str, message: str, cells: Sequence[str]) -> Fault:
        """A fault of the field at a path, described with the names of the columns that fill it."""
        filling = {inner: at for inner, at in self._fields.items() if inner == path or inner.startswith(f"{path}.")}
        if not filling:
            return Fault(printable(f"{path}: {message}"))
        names = ", ".join(map(self._name, filling))
        text = printable(f"column{'s' if len(filling) > 1 else ''} {names}: {message}")
        if message == LACKS_PARTY_ID:
            return Fault(text, advice=f"add {path}.gln, its Global Location Number, or leave this party out")
        if len(filling) > 1 or not (cell := cells[next(iter(filling.values()))]):
            return Fault(text)
        addition, advice = hint(path, cell, pads_gtin=self._pads_gtin)
        return Fault(text, _quoted(cell) + addition, advice)

    def _name(self, path: str) -> str:
        name = self.header[self._fields[path]]
        return name if name == path else f"{name} ({path})"


def _reading(path: str, choices: Choices) -> Callable[[str], object]:
    """How a cell of this field becomes a value. An unreadable cell stays text, for the rules to report."""
    if path == CONFIRM:
        return lambda text: _BOOLEANS.get(text.lower(), text)
    if path == GTIN and choices.pad_gtin:
        return _padded
    return str


def _padded(text: str) -> str:
    """A GTIN-8, -12 or -13 as a GTIN-14, even if its leading zeros are gone. No GTIN-8 of trade begins with 0.

    A shorter number is not a GTIN. Nor are zeros alone, although their check digit would be right.
    """
    is_gtin = text.isascii() and text.isdigit() and 8 <= len(text) <= 13 and text.strip("0")
    return text.zfill(14) if is_gtin else text


def _fields(header: Sequence[str], choices: Choices) -> Iterator[tuple[int, str]]:
    """Index and path of each column that fills a field. Spreadsheets leave columns without a name after the others."""
    for index, name in enumerate(header):
        if name and name not in choices.ignored and name not in ANSWER_COLUMNS:
            yield index, choices.renamed.get(name, name)


def _problems(header: Sequence[str], choices: Choices) -> Iterator[str]:
    """Everything that is wrong with a header line under these options."""
    counts = Counter(header)
    yield from (
        f"column {_shown(name)} appears {times} times"
        for name, times in counts.items()
        if times > 1 and name and name not in choices.ignored
    )
    for option, names in (("--map", choices.renamed), ("--ignore", choices.ignored)):
        unknown = [name for name in names if name not in counts]
        yield from (f"{option}: there is no column {_shown(name)}{did_you_mean(name, header)}" for name in unknown)
    sources: dict[str, list[str]] = {}
    meant: set[str] = set()
    for index, path in _fields(header, choices):
        name = header[index]
        if path == name and path not in PATHS:
            if (field_of_name := meant_field(name)) is not None:
                meant.add(field_of_name)
                option = shlex.quote(f"{name}={field_of_name}")
                advice = f"did you mean {field_of_name}? Then add --map {option}"
            else:
                advice = "name its field with --map, or leave it out with --ignore"
            yield f"column {_shown(name)} is not a field; {advice}"
        source = f"column {_shown(name)}"
        if source not in sources.setdefault(path, []):
            sources[path].append(source)
    if not (meant or choices.renamed or any(path in PATHS for path in sources)):
        yield "none of these names is known: delete any lines before the names of the columns"
    for path in choices.fixed:
        sources.setdefault(path, []).append("--set")
    yield from (
        f"{path} is filled twice, by {' and '.join(filling)}" for path, filling in sources.items() if len(filling) > 1
    )
    yield from (
        f"no column fills {path}: give it a column of that name, or use --map COLUMN={path} or --set {path}=VALUE"
        for path in REQUIRED
        if path not in sources and path not in meant
    )
    if len(meant) > 1:
        yield "`--write-map FILE` writes all this into a mapping file, for --map-file"


def _quoted(cell: str) -> str:
    return printable(repr(cell if len(cell) <= _LONGEST_SHOWN else f"{cell[:_LONGEST_SHOWN]}…"))


def _shown(name: str) -> str:
    return repr(name[:_LONGEST_SHOWN])
