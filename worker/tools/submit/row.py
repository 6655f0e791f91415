"""A row of a file on its way: what it asks for, what is wrong with it, and what was answered."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from worker.messages.json_value import JsonObject
from worker.messages.rules import CREATED, REPLAYED
from worker.messages.rules import OUTCOMES as RESULT_OUTCOMES
from worker.tools.common.answering import RowAnswer
from worker.tools.submit.source import Source

INVALID = "invalid"
OUTCOMES = (*RESULT_OUTCOMES, INVALID)
"""All that `answer.outcome` says; `invalid` was not asked, since the worker would not take it."""
GOOD = frozenset({CREATED, REPLAYED})


class BadFile(Exception):
    """The file, or an option about its columns, is not what can be submitted; the text says what was expected."""


class Torn(ValueError):
    """A record that a kill has cut off in the middle."""


class Asked(NamedTuple):
    """A command: the value that is sent, its body, and whether it is a structured CloudEvent."""

    value: bytes
    body: JsonObject
    is_cloud_event: bool = False


class Row(NamedTuple):
    """A row, from 1, and the line where it begins; `kept` is what the answers file repeats, without its end.

    Either it asks for something, or `problems` say what is wrong with it.
    """

    number: int
    line: int
    kept: bytes
    asked: Asked | None
    problems: tuple[str, ...] = ()

    def without_content(self) -> "Row":
        """What is kept until its answer comes, of a row that was asked: a body takes many times its text."""
        return Row(self.number, self.line, self.kept, _ASKED)


_ASKED = Asked(b"", {})


class Noted(NamedTuple):
    """What an answers file says of one of its rows."""

    outcome: str
    key: str


class Table(Protocol):
    """A file of rows in one of the formats, and how its answers are written."""

    source: Source
    """The file itself."""

    suffix: str
    """Of the answers file: `csv` or `ndjson`."""

    head: bytes
    """What the answers file begins with, before its first row."""

    def rows(self) -> Iterator[Row]:
        """All that are to be submitted, in order, read lazily and anew each time."""
        ...

    def line(self, row: Row, answer: RowAnswer) -> bytes:
        """What the answers file says of a row, with its end."""
        ...

    def records(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """What `line` made, from the lines behind the head; the last may be torn."""
        ...

    def noted(self, record: bytes) -> Noted:
        """Back from a record. Raises `Torn`, and `ValueError` for one that `line` has not made."""
        ...

    def is_part(self, torn: bytes, row: Row) -> bool:
        """Whether a torn record may be a part of the line of a row."""
        ...


def invalid(row: Row) -> RowAnswer:
    """Of a row that is not sent; it has no key, and no place."""
    return RowAnswer(INVALID, error="; ".join(row.problems))
