"""Which column of a spreadsheet fills which field of a command, and the body that a row's cells make."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import BaseModel

from worker.domain import gs1
from worker.messages.hints import printable
from worker.messages.json_value import JsonObject
from worker.tools.common.answering import NAMES
from worker.tools.common.command_model import CreatePassportBody
from worker.tools.common.hints import did_you_mean
from worker.tools.submit.row import BadFile

CONFIRM = "confirmOverage"
GTIN = "gs1.gtin"
_REQUIRED = ("productId", GTIN, "gs1.serialNumber")
_BOOLEANS = {"true": True, "wahr": True, "false": False, "falsch": False}
"""As Excel saves them in English and in German."""
_DIGITS = frozenset("0123456789")
_LONGEST_SHOWN = 60

ANSWER_COLUMNS = tuple(f"answer.{name}" for name in NAMES)
"""What an answers file has beside the columns of its input. Where it is the input, they are no fields."""


def paths_of(model: type[BaseModel] = CreatePassportBody, above: str = "") -> Iterator[str]:
    """Dotted paths of all fields of a command."""
    for name, one in model.model_fields.items():
        path, inner = f"{above}{one.alias or name}", one.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from paths_of(inner, f"{path}.")
        else:
            yield path


PATHS = tuple(paths_of())


@dataclass(frozen=True, slots=True)
class Choices:
    """What was said of columns: paths of those with other names, values that all rows have, columns to leave out."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    ignored: Sequence[str] = ()
    pad_gtin: bool = False
    confirm_overage: bool = False

    def values(self) -> Iterator[tuple[str, object]]:
        """What each body is given, by path."""
        for path, text in self.fixed.items():
            if not (path == CONFIRM and self.confirm_overage):
                yield path, _reading(path, self)(text)
        if self.confirm_overage:
            yield CONFIRM, True

    def problems(self) -> Iterator[str]:
        """Paths that no field has."""
        for option, path in (
            *(("--map", one) for one in self.renamed.values()),
            *(("--set", one) for one in self.fixed),
        ):
            if path not in PATHS:
                yield f"{option}: expected the path of a field, got {path!r}{did_you_mean(path, PATHS)}"
        yield from (
            f"--set {path}: expected no control characters, and UTF-8"
            for path, text in self.fixed.items()
            if gs1.UNSAFE_TEXT.search(text)
        )


def fill(body: JsonObject, path: Sequence[str], value: object) -> None:
    """Set a value, and make the objects that lead to it. Raises `ValueError` where something else is in their place."""
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
    """The columns of one header line. Raises `BadFile` with all that is wrong about them."""

    def __init__(self, header: Sequence[str], choices: Choices) -> None:
        if problems := [*choices.problems(), *_problems(header, choices)]:
            raise BadFile("\n  ".join(("the columns are not as expected:", *problems)))
        self.header = tuple(header)
        self.kept = tuple(index for index, name in enumerate(header) if name not in ANSWER_COLUMNS)
        """Which of them an answers file repeats."""
        self._fixed = [(tuple(path.split(".")), value) for path, value in choices.values()]
        fixed = {path for path, _ in choices.values()}
        self._fields = {path: index for index, path in _fields(header, choices) if path not in fixed}
        self._columns = [
            _Column(index, tuple(path.split(".")), _reading(path, choices)) for path, index in self._fields.items()
        ]

    def body(self, cells: Sequence[str]) -> JsonObject:
        """Of as many cells as there are columns; an empty one is not sent."""
        body: JsonObject = {}
        for path, value in self._fixed:
            fill(body, path, value)
        for at, path, read in self._columns:
            if text := cells[at]:
                fill(body, path, read(text))
        return body

    def told(self, path: str, message: str, cells: Sequence[str]) -> str:
        """What is wrong with the field at a path, in words of the columns that fill it."""
        filling = [(one, index) for one, index in self._fields.items() if one == path or one.startswith(f"{path}.")]
        if not filling:
            return printable(f"{path}: {message}")
        names = ", ".join(self._name(one, index) for one, index in filling)
        got = cells[filling[0][1]] if len(filling) == 1 else ""
        return printable(f"column{'s' if len(filling) > 1 else ''} {names}: {message}{_got(path, got)}")

    def _name(self, path: str, index: int) -> str:
        return path if self.header[index] == path else f"{self.header[index]} ({path})"


def _got(path: str, cell: str) -> str:
    if not cell:
        return ""
    shown = cell if len(cell) <= _LONGEST_SHOWN else f"{cell[:_LONGEST_SHOWN]}…"
    eaten = path == GTIN and len(cell) < 14 and _DIGITS.issuperset(cell)
    return f", got {shown!r}{' (--pad-gtin puts back leading zeros)' if eaten else ''}"


def _reading(path: str, choices: Choices) -> Callable[[str], object]:
    """How a cell becomes a value. What cannot be read stays a text, of which the rules say what was expected."""
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
    names = Counter(header)
    yield from (f"column {_shown(name)} is there {times} times" for name, times in names.items() if times > 1)
    for option, named in (("--map", choices.renamed), ("--ignore", choices.ignored)):
        yield from (
            f"{option}: there is no column {_shown(name)}{did_you_mean(name, header)}"
            for name in named
            if name not in names
        )
    found = [(path, header[index]) for index, path in _fields(header, choices)]
    yield from _unknown(found)
    yield from _filled_twice(found, choices)
    missing = set(_REQUIRED).difference((path for path, _ in found), choices.fixed)
    yield from (
        f"no column fills {path}: expected one of that name, --map COLUMN={path} or --set {path}=VALUE"
        for path in _REQUIRED
        if path in missing
    )


def _unknown(found: Iterable[tuple[str, str]]) -> Iterator[str]:
    for path, name in found:
        if path == name and path not in PATHS:
            advice = did_you_mean(name, PATHS) or "; name its field by --map, or leave it out by --ignore"
            yield f"column {_shown(name)} is the path of no field{advice}"


def _filled_twice(found: Iterable[tuple[str, str]], choices: Choices) -> Iterator[str]:
    by_path: dict[str, list[str]] = {}
    for path, name in found:
        names = by_path.setdefault(path, [])
        if name not in names:
            names.append(name)
    for path, names in by_path.items():
        sources = [f"column {_shown(name)}" for name in names] + ["--set"] * (path in choices.fixed)
        if len(sources) > 1:
            yield f"{path} is filled twice, by {' and '.join(sources)}"


def _shown(name: str) -> str:
    return repr(name[:_LONGEST_SHOWN])
