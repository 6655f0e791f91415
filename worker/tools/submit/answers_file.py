"""The answers file. A kill at any moment loses no answer, and the file shows the next run where to continue."""

import errno
import fcntl
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from worker.tools.cli.errors import Failed
from worker.tools.common.answering import RowAnswer
from worker.tools.submit.table import REFUSED, BadFile, Row, Table, Torn

_CHUNK_BYTES = 64 * 1024
_MOST_REASONS = 1_000
"""Most different reasons to count: some name fields of the row."""
_OTHER = "It holds answers to another file, or to other options. Move it away to start again."


class Reason(NamedTuple):
    """Why rows were refused."""

    outcome: str
    status: str
    error: str


class InUse(Failed):
    """Another process works on the same answers."""


class CannotWrite(Exception):
    """The disk did not take an answer. Nothing more is written; the text says why."""


class AnswersFile:
    """Enter it to lock the file. Read `earlier` to its end, call `begin`, and then `append` answers."""

    def __init__(self, path: Path, table: Table) -> None:
        self.path = path
        self.outcomes: Counter[str] = Counter()
        """Outcomes of all rows that the file answers."""
        self.reasons: Counter[Reason] = Counter()
        """Reasons of all refusals that the file has."""
        self.torn = b""
        """The incomplete last line, if a kill has left one."""
        self._table = table
        self._good_bytes = 0
        self._failure: CannotWrite | None = None
        self._file: BinaryIO

    def __enter__(self) -> Self:
        """Raises `BadFile` if the file cannot be written, and `InUse`."""
        mode = self._table.source.mode & 0o666 | 0o600  # whoever may read the rows may read their answers
        try:
            self._file = open(os.open(self.path, os.O_RDWR | os.O_CREAT, mode), "rb+", buffering=0)
        except OSError as error:
            raise BadFile(f"cannot write {self.path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._file.close()
            raise BadFile(f"cannot write {self.path}: expected a file")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            if isinstance(error, BlockingIOError):
                raise InUse(f"another process writes {self.path}: wait for it, or end it") from error
            raise BadFile(f"cannot lock {self.path}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        """Remove a file without answers, but never a file that is not an answers file."""
        size = os.fstat(self._file.fileno()).st_size
        if size == 0 or size == self._good_bytes == len(self._table.head):
            # Before the lock is released: as soon as another process has it, it may write answers into this file.
            self.path.unlink(missing_ok=True)
        self._file.close()

    def earlier(self) -> Iterator[str]:
        """The key of each row that an earlier run has answered, in order, up to a torn line.

        Raises `BadFile` if the file has no answers of this table.
        """
        with self.path.open("rb") as stream:
            start, head = stream.read(len(self._table.head)), self._table.head
            if start != head:
                # A kill may have left a part of the head; a power cut leaves zeros.
                if not head.startswith(start.rstrip(b"\0")) or (start.endswith(b"\0") and not _is_zero(stream)):
                    raise BadFile(f"{self.path} has other columns. {_OTHER}")
                return
            self._good_bytes = len(head)
            for number, record in enumerate(self._table.records(iter(stream)), 1):
                try:
                    row = self._table.answered(record)
                except Torn:
                    # A power cut may leave the file's new length without its data: zeros.
                    self.torn = record.rstrip(b"\0")
                    return
                except ValueError as error:
                    raise BadFile(f"{self.path}, row {number}, is not an answer ({error}). {_OTHER}") from error
                self._good_bytes += len(record)
                self._count(row.outcome, row.status, row.error)
                yield row.key

    def begin(self) -> None:
        """Cut off a torn line, so that rows can be appended. Raises `CannotWrite`."""
        try:
            self._cut()
        except OSError as error:
            raise self._failed(error) from error
        if self._good_bytes < len(self._table.head):
            # The head is on the disk before the first row: a power cut must not leave rows of unknown columns.
            self._write(self._table.head)
            self.sync()

    def append(self, row: Row, answer: RowAnswer) -> None:
        """Append a row's answer in one write, so that readers see partial lines only after a kill.

        Raises `CannotWrite`. After the first failure it always does: no row may follow a missing one.
        """
        self._write(self._table.line(row, answer))
        self._count(answer.outcome, answer.status, answer.error)

    def _count(self, outcome: str, status: str, error: str) -> None:
        self.outcomes[outcome] += 1
        if outcome in REFUSED:
            reason = Reason(outcome, status, error)
            is_kept = reason in self.reasons or len(self.reasons) < _MOST_REASONS
            self.reasons[reason if is_kept else Reason(outcome, status, "other reasons")] += 1

    def _write(self, data: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            failure = self._failed(error)
            with suppress(OSError):
                self._cut()
            raise failure from error
        self._good_bytes += len(data)

    def _cut(self) -> None:
        self._file.truncate(self._good_bytes)
        self._file.seek(self._good_bytes)

    def sync(self) -> None:
        """Wait until the disk has everything. Raises `CannotWrite`: after a failed sync, data may be lost silently."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> CannotWrite:
        self._failure = CannotWrite(f"cannot write {self.path}: {error.strerror}")
        return self._failure


def _is_zero(stream: BinaryIO) -> bool:
    return not any(chunk.strip(b"\0") for chunk in iter(lambda: stream.read(_CHUNK_BYTES), b""))
