"""Checks, before anything is sent, that rows pass the rules for bodies, and that earlier answers are to these rows."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from worker.messages.envelope import Limits
from worker.tools.submit.answers_file import AnswersFile
from worker.tools.submit.columns import Choices
from worker.tools.submit.csv_file import CsvFile, Heading, read_heading
from worker.tools.submit.encodings import guessed_encoding
from worker.tools.submit.headers import idempotency_key
from worker.tools.submit.ndjson_file import NdjsonFile
from worker.tools.submit.table import OUTCOMES, BadFile, Row, SourceFile, Table
from worker.tools.validate.problems import BOM

_NDJSON = (".ndjson", ".jsonl", ".json")
_CSV = (".csv", ".tsv", ".txt")
_READ_TO_GUESS = 1024 * 1024


@dataclass(slots=True)
class Checked:
    """Numbers of rows: all, bad ones, and those with an answer from an earlier run."""

    rows: int = 0
    bad: int = 0
    answered: int = 0


def table_of(path: Path, limits: Limits, choices: Choices, only: Collection[str] = ()) -> Table:
    """The table in a file. The name shows its format; with any other name, NDJSON begins with a brace.

    `only` keeps rows with these outcomes of an answers file. Raises `BadFile`.
    """
    if unknown := [outcome for outcome in only if outcome not in OUTCOMES]:
        raise BadFile(f"--only: expected one of {', '.join(OUTCOMES)}, got {unknown[0]!r}")
    try:
        if str(path) == "-" or not S_ISREG(path.stat().st_mode):  # a pipe can be read only once
            raise BadFile(f"cannot read {path}: expected a file, since it is read twice: no folder, pipe or device")
        source = SourceFile(path)
        with source.open() as stream:
            is_ndjson = _is_ndjson(path, stream)
        return (NdjsonFile if is_ndjson else CsvFile)(source, limits, choices, only)
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}") from error


def _is_ndjson(path: Path, stream: BinaryIO) -> bool:
    suffix = path.suffix.lower()
    first = stream.read(4096).removeprefix(BOM).lstrip()
    return suffix in _NDJSON or (suffix not in _CSV and first.startswith(b"{"))


def heading_of(path: Path, encoding: str | None) -> Heading:
    """The header line of a CSV file. The encoding is guessed unless it is given. Raises `BadFile`."""
    try:
        with path.open("rb") as stream:
            if _is_ndjson(path, stream):
                raise BadFile("--write-map needs a CSV file: NDJSON has no columns")
            stream.seek(0)
            guessed = guessed_encoding(stream.read(_READ_TO_GUESS))
            stream.seek(0)
            return read_heading(stream, encoding or guessed)
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}") from error


def answers_path(path: Path, table: Table) -> Path:
    """`FILE.answers.csv` or `FILE.answers.ndjson`."""
    return path.with_name(f"{path.name}.answers.{table.suffix}")


def check(table: Table, answers: AnswersFile | None, tell: Callable[[Row], None]) -> Checked:
    """Read all rows, compare them with earlier answers, and pass each to `tell`.

    Raises `BadFile` if the answers are to other rows, and `Changed`.
    """
    checked = Checked()
    earlier = iter(()) if answers is None else answers.earlier()
    for row in table.rows():
        checked.rows += 1
        checked.bad += row.command is None
        if answers is not None and checked.answered == checked.rows - 1:
            key = next(earlier, None)
            if key is None:
                is_other_row = answers.torn and not table.is_part(answers.torn, row)
            else:
                # The key is made of the body, so a row that was edited or moved since is found before anything is sent.
                is_other_row = key != ("" if row.command is None else idempotency_key(row.command.body))
            if is_other_row:
                raise BadFile(
                    f"row {row.number}, line {row.line}: {answers.path} has the answer to another row there. "
                    "It may belong to another file, or to other options. Move it away to start again."
                )
            checked.answered += key is not None
        tell(row)
    if answers is not None and (next(earlier, None) is not None or (answers.torn and checked.answered == checked.rows)):
        raise BadFile(f"{answers.path} has more rows than the file. It belongs to another file.")
    return checked
