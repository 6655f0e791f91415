"""The file of rows, which is read more than once: what is sent has to be what was checked."""

import io
import os
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 64 * 1024


class Changed(Exception):
    """The file is not what it was at first."""


class Source:
    """A file as it was when it was first looked at. Raises `OSError` where it cannot be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        found = path.stat()
        self._seen = _state(found)
        self.mode = found.st_mode
        """As `stat` says it: who may read it."""

    def open(self) -> BinaryIO:
        """From its beginning. Whoever reads it to its end has read what others have; else reading raises `Changed`."""
        return io.BufferedReader(_Same(self._path, self._seen), _CHUNK_BYTES)


class _Same(io.FileIO):
    def __init__(self, path: Path, seen: tuple[int, ...]) -> None:
        super().__init__(path)
        self._seen = seen

    def readinto(self, buffer: "bytearray | memoryview") -> int | None:  # type: ignore[override]
        """Looks behind each read, so that nothing is handed out that was written meanwhile."""
        count = super().readinto(buffer)
        if _state(os.fstat(self.fileno())) != self._seen:
            raise Changed("the file has changed while it was read")
        return count


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns
