"""Standard output and standard error of a command: closed, full, or without a reader."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_STDOUT, _STDERR = 1, 2


class CannotPrint(OSError):
    """Standard output cannot be written: its disk is full, or it is not open."""

    def __str__(self) -> str:
        """Say what happened, and what it means."""
        return f"cannot write the output: {self.strerror}. What the command changed before stays changed."


@contextmanager
def _known_failures() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CannotPrint(*error.args) from error


class _Output(io.TextIOWrapper):
    """Standard output, whose errors differ from those of other files."""

    def write(self, text: str) -> int:
        """Raise `CannotPrint`, or `BrokenPipeError`."""
        with _known_failures():
            return super().write(text)

    def flush(self) -> None:
        """Raise `CannotPrint`, or `BrokenPipeError`."""
        with _known_failures():
            super().flush()


def prepare_streams() -> None:
    """Turn failures of standard output into `CannotPrint`.

    Characters that the encoding of the terminal lacks are printed as escapes, and are no error.
    """
    _open_closed_streams()
    if type(sys.stdout) is io.TextIOWrapper:  # tests replace it
        encoding, line_buffering, unbuffered = sys.stdout.encoding, sys.stdout.line_buffering, sys.stdout.write_through
        sys.stdout = _Output(sys.stdout.detach(), encoding, line_buffering=line_buffering, write_through=unbuffered)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def on_lost_output(advice: str) -> Iterator[None]:
    """Say on stderr what to do if the output cannot be written, or its reader has gone."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except (BrokenPipeError, CannotPrint):
        print(f"passport-worker: {advice}", file=sys.stderr)
        raise


def _open_closed_streams() -> None:
    """Open streams that the caller has closed: a socket would take their numbers, and get what we print."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The system gives the lowest free number. Writing to the output remains an error.
            os.open(os.devnull, os.O_WRONLY if descriptor == _STDERR else os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = open(_STDOUT, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process ends
    if sys.stderr is None:
        sys.stderr = open(_STDERR, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def leave_closed_pipe(code: int) -> NoReturn:
    """Exit after the reader of our output has gone, without the error of Python's last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
