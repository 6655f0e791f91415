"""The answers file: what is written survives a kill at any moment, and tells where to go on."""

import errno
import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from worker.submit.row import BadFile, Row, RowAnswer, Table, Torn


class InUse(Exception):
    """Another process is at work on the same answers."""


class AnswersFile:
    """Enter it to hold the file against others. First `earlier` is read to its end, then `append` goes on behind it."""

    def __init__(self, path: Path, table: Table) -> None:
        self.path = path
        self.outcomes: Counter[str] = Counter()
        """Of all rows that are answered in the file."""
        self.torn = b""
        """What a kill has left of the line of the row behind these."""
        self._table = table
        self._good_bytes = 0
        self._file: BinaryIO

    def __enter__(self) -> Self:
        """Raises `BadFile` where it cannot be written, and `InUse`."""
        try:
            self._file = open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "rb+", buffering=0)
        except OSError as error:
            raise BadFile(f"cannot write {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise InUse(f"another process writes {self.path}: wait for it, or end it") from error
        return self

    def __exit__(self, *_: object) -> None:
        """An empty file says nothing, so it goes."""
        if os.fstat(self._file.fileno()).st_size == 0:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def earlier(self) -> Iterator[str]:
        """The key of each row that an earlier run has written, in order, up to a torn line.

        Raises `BadFile` where these are not the answers of such a table.
        """
        head = self._table.head
        with self.path.open("rb") as stream:
            found = stream.read(len(head))
            if not head.startswith(found):
                raise BadFile(f"{self.path} has other columns: {_OTHER}")
            if found == head:
                self._good_bytes = len(head)
                yield from self._keys(stream)

    def _keys(self, stream: BinaryIO) -> Iterator[str]:
        for number, record in enumerate(self._table.records(iter(stream)), 1):
            try:
                noted = self._table.noted(record)
            except Torn:
                self.torn = record.rstrip(b"\0")  # up to the file's end; zeros are what a power cut may leave
                return
            except ValueError as error:
                raise BadFile(f"{self.path}, row {number}, is no answer ({error}): {_OTHER}") from error
            self._good_bytes += len(record)
            self.outcomes[noted.outcome] += 1
            yield noted.key

    def begin(self) -> None:
        """Cut off a torn line; from now on rows are appended."""
        self._file.truncate(self._good_bytes)
        self._file.seek(self._good_bytes)
        if self._good_bytes < len(self._table.head):
            self._file.write(self._table.head)

    def append(self, row: Row, answer: RowAnswer) -> None:
        """One write a row: nobody ever sees a part of a line, but where it was killed."""
        line = self._table.line(row, answer)
        if self._file.write(line) != len(line):
            raise OSError(errno.ENOSPC, f"cannot write all of a line to {self.path}: the disk is full")
        self.outcomes[answer.outcome] += 1

    def sync(self) -> None:
        """Until it is on the disk."""
        os.fsync(self._file.fileno())


_OTHER = "these are answers to another file, or to other options; move them away to begin anew"
