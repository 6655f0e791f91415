"""The answers file: what is written survives a kill at any moment, and tells where to go on."""

import errno
import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

from worker.tools.common.answering import RowAnswer
from worker.tools.submit.row import BadFile, Row, Table, Torn


class InUse(Exception):
    """Another process is at work on the same answers."""


class CannotWrite(Exception):
    """The disk did not take what was to be kept; nothing is written any more, and the text says why."""


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
        self._failure: CannotWrite | None = None
        self._file: BinaryIO

    def __enter__(self) -> Self:
        """A new one is for those who may read the input. Raises `BadFile` where it cannot be written, and `InUse`."""
        mode = self._table.source.mode & 0o666 | 0o600
        try:
            self._file = open(os.open(self.path, os.O_RDWR | os.O_CREAT, mode), "rb+", buffering=0)
        except OSError as error:
            raise BadFile(f"cannot write {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            if isinstance(error, BlockingIOError):
                raise InUse(f"another process writes {self.path}: wait for it, or end it") from error
            raise BadFile(f"cannot lock {self.path}: {error.strerror}") from error
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
            if found == head:
                self._good_bytes = len(head)
                yield from self._keys(stream)
            elif not head.startswith(found.rstrip(b"\0")) or (found.endswith(b"\0") and not _is_zero(stream)):
                raise BadFile(f"{self.path} has other columns: {_OTHER}")

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
        """Cut off a torn line; from now on rows are appended. Raises `CannotWrite`."""
        try:
            self._cut()
        except OSError as error:
            raise self._failed(error) from error
        if self._good_bytes < len(self._table.head):
            self._write(self._table.head)
            self.sync()

    def append(self, row: Row, answer: RowAnswer) -> None:
        """One write a row: nobody ever sees a part of a line, but where it was killed.

        Raises `CannotWrite`, from the first time on always: else rows would come behind one that is missing.
        """
        self._write(self._table.line(row, answer))
        self.outcomes[answer.outcome] += 1

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
        """Until it is on the disk. Raises `CannotWrite`: what was not synced once may be lost although later is not."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> CannotWrite:
        self._failure = CannotWrite(f"cannot write {self.path}: {error.strerror}")
        return self._failure


def _is_zero(stream: BinaryIO) -> bool:
    """All of the rest, as a power cut may leave it."""
    return not any(chunk.strip(b"\0") for chunk in iter(lambda: stream.read(_CHUNK_BYTES), b""))


_CHUNK_BYTES = 64 * 1024
_OTHER = "these are answers to another file, or to other options; move them away to begin anew"
