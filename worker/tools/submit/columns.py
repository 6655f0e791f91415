"""Which column of a spreadsheet fills which field of a command."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import BaseModel

from worker.domain import gs1
from worker.messages.hints import printable
from worker.messages.json_value import JsonObject
from worker.tools.common.answering import NAMES
from worker.tools.common.command_model import CreatePassportBody
from worker.tools.common.hints import did_you_mean
from worker.tools.submit.table import BadFile

CONFIRM = "confirmOverage"
GTIN = "gs1.gtin"
_REQUIRED = ("productId", GTIN, "gs1.serialNumber")
_BOOLEANS = {"true": True, "wahr": True, "false": False, "falsch": False}
"""As Excel saves them in English and in German."""
_DIGITS = frozenset("0123456789")
_LONGEST_SHOWN = 60

ANSWER_COLUMNS = tuple(f"answer.{name}" for name in NAMES)
"""Columns that an answers file adds to those of its input. If it is the input, they are not fields."""


def paths_of(model: type[BaseModel] = CreatePassportBody, above: str = "") -> Iterator[str]:
    """Dotted paths of all fields of a command."""
    for name, info in model.model_fields.items():
        path, inner = f"{above}{info.alias or name}", info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from paths_of(inner, f"{path}.")
        else:
            yield path


PATHS = tuple(paths_of())


@dataclass(frozen=True, slots=True)
class Choices:
    """Options about columns: paths of columns with other names, values for all rows, columns to leave out."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    ignored: Sequence[str] = ()
    pad_gtin: bool = False
    confirm_overage: bool = False

    def values(self) -> Iterator[tuple[str, object]]:
        """Path and value of each field that all bodies get."""
        for path, text in self.fixed.items():
            if not (path == CONFIRM and self.confirm_overage):
                yield path, _reading(path, self)(text)
        if self.confirm_overage:
            yield CONFIRM, True

    def problems(self) -> Iterator[str]:
        """Errors in these options that no header is needed for."""
        for option, path in (
            *(("--map", path) for path in self.renamed.values()),
            *(("--set", path) for path in self.fixed),
        ):
            if path not in PATHS:
                yield f"{option}: expected the path of a field, got {path!r}{did_you_mean(path, PATHS)}"
        yield from (
            f"--set {path}: expected no control characters, and UTF-8"
            for path, text in self.fixed.items()
            if gs1.UNSAFE_TEXT.search(text)
        )


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
    """The columns of a header line. Raises `BadFile` with everything that is wrong with them."""

    def __init__(self, header: Sequence[str], choices: Choices) -> None:
        if problems := [*choices.problems(), *_problems(header, choices)]:
            raise BadFile("\n  ".join(("the columns cannot be used:", *problems)))
        self.header = tuple(header)
        self.kept = tuple(index for index, name in enumerate(header) if name not in ANSWER_COLUMNS)
        """Indexes of the columns that an answers file repeats."""
        self._fixed = [(tuple(path.split(".")), value) for path, value in choices.values()]
        fixed = {path for path, _ in choices.values()}
        self._fields = {path: index for index, path in _fields(header, choices) if path not in fixed}
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

    def problem(self, path: str, message: str, cells: Sequence[str]) -> str:
        """A problem with the field at a path, by the names of the columns that fill it."""
        filling = {inner: at for inner, at in self._fields.items() if inner == path or inner.startswith(f"{path}.")}
        if not filling:
            return printable(f"{path}: {message}")
        names = [self.header[at] + (f" ({inner})" if self.header[at] != inner else "") for inner, at in filling.items()]
        plural, got = "s" if len(names) > 1 else "", ""
        if len(names) == 1 and (cell := cells[next(iter(filling.values()))]):
            shown = cell if len(cell) <= _LONGEST_SHOWN else f"{cell[:_LONGEST_SHOWN]}…"
            lacks_zeros = path == GTIN and len(cell) < 14 and _DIGITS.issuperset(cell)
            got = f", got {shown!r}{' (--pad-gtin puts back leading zeros)' if lacks_zeros else ''}"
        return printable(f"column{plural} {', '.join(names)}: {message}{got}")


def _reading(path: str, choices: Choices) -> Callable[[str], object]:
    """How a cell of this field becomes a value. An unreadable cell stays a text, for the rules to complain about."""
    if path == CONFIRM:
        return lambda text: _BOOLEANS.get(text.lower(), text)
    if path == GTIN and choices.pad_gtin:
        return lambda text: text.zfill(14) if _DIGITS.issuperset(text) else text
    return str


def _fields(header: Sequence[str], choices: Choices) -> Iterator[tuple[int, str]]:
    """Index and path of each column that fills a field."""
    for index, name in enumerate(header):
        if name not in choices.ignored and name not in ANSWER_COLUMNS:
            yield index, choices.renamed.get(name, name)


def _problems(header: Sequence[str], choices: Choices) -> Iterator[str]:
    """Everything that is wrong with a header line under these options."""
    counts = Counter(header)
    yield from (f"column {_shown(name)} appears {times} times" for name, times in counts.items() if times > 1)
    for option, names in (("--map", choices.renamed), ("--ignore", choices.ignored)):
        unknown = [name for name in names if name not in counts]
        yield from (f"{option}: there is no column {_shown(name)}{did_you_mean(name, header)}" for name in unknown)
    sources: dict[str, list[str]] = {}
    for index, path in _fields(header, choices):
        name = header[index]
        if path == name and path not in PATHS:
            advice = did_you_mean(name, PATHS) or "; name its field with --map, or leave it out with --ignore"
            yield f"column {_shown(name)} is not a field{advice}"
        source = f"column {_shown(name)}"
        if source not in sources.setdefault(path, []):
            sources[path].append(source)
    for path in choices.fixed:
        sources.setdefault(path, []).append("--set")
    yield from (
        f"{path} is filled twice, by {' and '.join(filling)}" for path, filling in sources.items() if len(filling) > 1
    )
    yield from (
        f"no column fills {path}: name one so, or use --map COLUMN={path} or --set {path}=VALUE"
        for path in _REQUIRED
        if path not in sources
    )


def _shown(name: str) -> str:
    return repr(name[:_LONGEST_SHOWN])
