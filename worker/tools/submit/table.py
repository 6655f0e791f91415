"""A file of rows, which is read several times. Each row is a command, or a list of faults."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from worker.messages.json_value import JsonObject
from worker.messages.rules import CREATED, REPLAYED
from worker.messages.rules import OUTCOMES as RESULT_OUTCOMES
from worker.tools.cli.errors import BadUsage
from worker.tools.common.answering import RowAnswer

INVALID = "invalid"
OUTCOMES = (*RESULT_OUTCOMES, INVALID)
"""The values of `answer.outcome`. Rows with `invalid` were not sent: the worker would refuse them."""
GOOD = frozenset({CREATED, REPLAYED})
"""Outcomes of rows that have their passport."""
REFUSED = frozenset(RESULT_OUTCOMES) - GOOD
"""Outcomes of rows that the worker refused."""

_CHUNK_BYTES = 64 * 1024


class BadFile(BadUsage):
    """The file, or an option about its columns, cannot be used; the text says what was expected."""


class Torn(ValueError):
    """A record of an answers file that a kill has cut off."""


class Changed(Exception):
    """The file was changed while it was being submitted."""


class Fault(NamedTuple):
    """Something that is wrong with a row. Rows have equal faults if `text` and `advice` are the same."""

    text: str
    got: str = ""
    advice: str = ""

    def __str__(self) -> str:
        """The fault in one sentence."""
        return f"{self.text}{', got ' if self.got else ''}{self.got}{f' ({self.advice})' if self.advice else ''}"


class RowCommand(NamedTuple):
    """The command of a row: the value to send, its body, and whether it is a structured CloudEvent."""

    value: bytes
    body: JsonObject
    is_cloud_event: bool = False


class Row(NamedTuple):
    """A row, counted from 1, and the line where it begins. It has either a command or faults.

    The answers file repeats `kept`, which has no line end.
    """

    number: int
    line: int
    kept: bytes
    command: RowCommand | None
    faults: tuple[Fault, ...] = ()

    def without_content(self) -> "Row":
        """A row that waits for its answer: a parsed body takes many times the memory of its text."""
        return Row(self.number, self.line, self.kept, _NO_CONTENT)

    def invalid(self) -> RowAnswer:
        """The answer of a row that is not sent: no key, and no place."""
        return RowAnswer(INVALID, error="; ".join(map(str, self.faults)))


_NO_CONTENT = RowCommand(b"", {})


class SourceFile:
    """A file that has to stay as it was when this object was made. Raises `OSError` if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        status = path.stat()
        self._state = _state(status)
        self.mode = status.st_mode

    def open(self) -> BinaryIO:
        """Open it for reading from its start. Reading raises `Changed` once the file has been written to."""
        return io.BufferedReader(_UnchangedFile(self._path, self._state), _CHUNK_BYTES)


class _UnchangedFile(io.FileIO):
    def __init__(self, path: Path, state: tuple[int, ...]) -> None:
        super().__init__(path)
        self._state = state

    def readinto(self, buffer: "bytearray | memoryview") -> int | None:  # type: ignore[override]
        """Read, then compare the state, so that bytes written meanwhile are never returned."""
        count = super().readinto(buffer)
        if _state(os.fstat(self.fileno())) != self._state:
            raise Changed("the file has changed while it was read")
        return count


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns


class Table(Protocol):
    """A file of rows in one of the formats, and the format of its answers file."""

    source: SourceFile

    suffix: str
    """Suffix of the answers file: `csv` or `ndjson`."""

    head: bytes
    """Start of the answers file, before its first row."""

    def rows(self) -> Iterator[Row]:
        """Yield all rows to submit, in order. Each call reads the file again."""
        ...

    def line(self, row: Row, answer: RowAnswer) -> bytes:
        """The row of the answers file, with its line end."""
        ...

    def records(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Join the lines after the head into the rows that `line` made; the last one may be torn."""
        ...

    def answered(self, record: bytes) -> RowAnswer:
        """The answer in such a row. Raises `Torn`, and `ValueError` for a row that `line` did not make."""
        ...

    def is_part(self, torn: bytes, row: Row) -> bool:
        """Whether a torn row may be a part of this row's line."""
        ...
