"""Which of the formats a file has."""

from collections.abc import Collection
from pathlib import Path

from worker.messages.envelope import Limits
from worker.tools.submit.columns import Choices
from worker.tools.submit.csv_file import CsvFile
from worker.tools.submit.ndjson_file import NdjsonFile
from worker.tools.submit.row import OUTCOMES, BadFile, Table
from worker.tools.submit.source import Source
from worker.tools.validate.lines import BOM

_NDJSON = (".ndjson", ".jsonl", ".json")
_CSV = (".csv", ".tsv", ".txt")


def table_of(path: Path, limits: Limits, choices: Choices, only: Collection[str] = ()) -> Table:
    """By its name; where that says nothing, NDJSON begins with a brace. Raises `BadFile`."""
    if unknown := [one for one in only if one not in OUTCOMES]:
        raise BadFile(f"--only: expected one of {', '.join(OUTCOMES)}, got {unknown[0]!r}")
    if not path.is_file():  # it is read more than once
        raise BadFile(f"cannot read {path}: expected a file")
    try:
        source = Source(path)
        with source.open() as stream:
            first = stream.read(4096).removeprefix(BOM).lstrip()
        is_ndjson = path.suffix.lower() in _NDJSON or (path.suffix.lower() not in _CSV and first.startswith(b"{"))
        return (NdjsonFile if is_ndjson else CsvFile)(source, limits, choices, only)
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}") from error


def answers_path(path: Path, table: Table) -> Path:
    """`FILE.answers.csv` or `FILE.answers.ndjson`."""
    return path.with_name(f"{path.name}.answers.{table.suffix}")
