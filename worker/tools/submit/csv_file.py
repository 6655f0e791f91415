"""A spreadsheet as CSV: UTF-8, with or without a byte order mark, cells between commas, semicolons or tabs."""

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from typing import BinaryIO

import orjson

from worker.domain.command import InvalidBody
from worker.messages.body import read_body
from worker.messages.envelope import Limits
from worker.messages.hints import printable
from worker.tools.common.answering import RowAnswer
from worker.tools.submit.columns import ANSWER_COLUMNS, Choices, Columns
from worker.tools.submit.row import Asked, BadFile, Noted, Row, Torn
from worker.tools.submit.source import Source
from worker.tools.validate.lines import BOM, bounded_lines, without_end
from worker.tools.validate.problems import problems_of

_LONGEST_LINE = 1024 * 1024
_LONGEST_RECORD = 8 * _LONGEST_LINE
"""Of an answers file: what is longer has lost a quote."""
_DELIMITERS = (",", ";", "\t")
_QUOTED = re.compile(r'"[^"]*"')
_NOT_UTF8 = re.compile("[\ud800-\udfff]")
"""What `surrogateescape` makes of bytes that are no UTF-8, and nothing else does."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV Injection)."""

_END = "\r\n"

_SYNTAX = (
    ("unexpected end of data", "a quote is opened and never closed"),
    ("field larger than field limit", "a cell is over 131,072 characters long: is its quote not closed?"),
    ("expected after", "a quote stands inside a quoted cell: expected it doubled"),
    ("new-line character", "a carriage return stands inside a cell: expected the cell in quotes"),
)
"""What Python's reader says, and what people are told."""


class _Texts:
    """Lines as Python's reader wants them: the number of the last one, and what was wrong with those of a row."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = bounded_lines(stream, _LONGEST_LINE)
        self.number = 0
        self.flaw: str | None = None

    def __iter__(self) -> "_Texts":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        if self.number == 1:
            line = line.removeprefix(BOM)
        if len(line) > _LONGEST_LINE:
            self.flaw = f"expected lines of at most {_LONGEST_LINE:,} bytes"
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            self.flaw = self.flaw or "expected UTF-8"
            return line.decode("utf-8", "surrogateescape")

    def take_flaw(self) -> str | None:
        """What was wrong with the lines of the last row; of each row once."""
        flaw, self.flaw = self.flaw, None
        return flaw


class _Cells:
    """Writes cells into one line, without its end."""

    def __init__(self, delimiter: str) -> None:
        self._writer = csv.writer(self, delimiter=delimiter, lineterminator=_END)
        self._line = ""

    def write(self, text: str) -> None:
        """What Python's writer calls with a line, in which it quotes what stands in its end, and nothing else."""
        self._line = text.removesuffix(_END)

    def line(self, cells: Sequence[str]) -> bytes:
        """In quotes where they need it."""
        self._writer.writerow(cells)
        return self._line.encode("utf-8")


class CsvFile:
    """See `Table`. Raises `BadFile` for a header line that cannot be used, with all that is wrong in it."""

    suffix = "csv"

    def __init__(self, source: Source, limits: Limits, choices: Choices, only: Collection[str] = ()) -> None:
        self.source, self._limits, self._only = source, limits, only
        with source.open() as stream:
            header, self._delimiter = _header(stream)
        self._columns = Columns(header, choices)
        self._outcome = header.index("answer.outcome") if "answer.outcome" in header else None
        if only and self._outcome is None:
            raise BadFile("--only: expected an answers file, with a column answer.outcome")
        self._is_all_kept = len(self._columns.kept) == len(header)
        self._cells = _Cells(self._delimiter)
        names = self._kept(header) + list(ANSWER_COLUMNS)
        self.head = BOM + self._cells.line(names) + b"\r\n"

    def rows(self) -> Iterator[Row]:
        """See `Table`. Lines with nothing in their cells are no rows: spreadsheets leave some behind the last."""
        with self.source.open() as stream:
            yield from self._rows(stream)

    def _rows(self, stream: BinaryIO) -> Iterator[Row]:
        texts = _Texts(stream)
        reader = csv.reader(texts, delimiter=self._delimiter, strict=True)
        next(reader)
        number, texts.flaw = 0, None
        while True:
            line = texts.number + 1
            try:
                cells = next(reader)
                flaw = texts.take_flaw()
            except StopIteration:
                return
            except csv.Error as error:
                cells, flaw = [], texts.take_flaw() or _told(error)
            if flaw or any(cells):
                number += 1
                if not self._only or self._outcome_of(cells) in self._only:
                    yield self._row(number, line, cells, flaw)

    def _outcome_of(self, cells: Sequence[str]) -> str | None:
        assert self._outcome is not None
        return cells[self._outcome] if self._outcome < len(cells) else None

    def _row(self, number: int, line: int, cells: list[str], flaw: str | None) -> Row:
        columns = len(self._columns.header)
        if flaw is None and len(cells) != columns:
            flaw = f"expected {columns} cells, as the header line has, got {len(cells)}"
        if flaw is not None:
            return Row(number, line, self._line_of_bad(cells), None, (self._column_of_bad(cells) + flaw,))
        kept = self._cells.line(self._kept(cells))
        body = self._columns.body(cells)
        value = orjson.dumps(body)
        content = read_body(body)
        if isinstance(content, InvalidBody):
            errors = content.field_errors.items()
            told = (self._columns.told(path, text, cells) for path, texts in errors for text in texts)
            return Row(number, line, kept, None, tuple(told))
        if len(value) > self._limits.value_bytes:
            return Row(number, line, kept, None, problems_of(value, self._limits))
        return Row(number, line, kept, Asked(value, body))

    def _kept(self, cells: list[str]) -> list[str]:
        return cells if self._is_all_kept else [cells[index] for index in self._columns.kept]

    def _line_of_bad(self, cells: list[str]) -> bytes:
        """As many cells as there are columns, so that the answer stands below its own; what is no UTF-8 is replaced."""
        columns = len(self._columns.header)
        filled = (cells + [""] * columns)[:columns]
        readable = [one.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for one in filled]
        return self._cells.line(self._kept(readable))

    def _column_of_bad(self, cells: list[str]) -> str:
        """Where the first cell is that is no UTF-8."""
        names = self._columns.header
        found = (names[index] for index, one in enumerate(cells[: len(names)]) if _NOT_UTF8.search(one))
        name = next(found, None)
        return "" if name is None else f"column {printable(name)}: "

    def line(self, row: Row, answer: RowAnswer) -> bytes:
        """See `Table`. A spreadsheet that opens it takes none of what is added for a formula."""
        added = [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in answer]
        return b"".join((row.kept, self._delimiter.encode("ascii"), self._cells.line(added), b"\r\n"))

    def records(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """See `Table`. A line break within quotes ends none: there, the number of quotes is odd."""
        begun: list[bytes] = []
        size = quotes = 0
        for line in lines:
            begun.append(line)
            size, quotes = size + len(line), quotes + line.count(b'"')
            if quotes % 2 == 0 or size > _LONGEST_RECORD:
                yield b"".join(begun)
                begun, size, quotes = [], 0, 0
        if begun:
            yield b"".join(begun)

    def noted(self, record: bytes) -> Noted:
        """See `Table`."""
        if not record.endswith(b"\r\n") or record.count(b'"') % 2:
            raise Torn("torn")
        try:
            cells = next(csv.reader([record.decode("utf-8")], delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            raise ValueError(_told(error)) from error
        if len(cells) != len(self._columns.kept) + len(ANSWER_COLUMNS):
            raise ValueError(f"{len(cells)} cells")
        added = dict(zip(ANSWER_COLUMNS, cells[-len(ANSWER_COLUMNS) :], strict=True))
        return Noted(added["answer.outcome"], added["answer.key"])

    def is_part(self, torn: bytes, row: Row) -> bool:
        """See `Table`. What is added has no line breaks."""
        rest = torn.removeprefix(row.kept)
        return row.kept.startswith(torn) or (rest != torn and b"\n" not in rest)


def _header(stream: BinaryIO) -> tuple[list[str], str]:
    """The names of the columns, and what stands between them. Raises `BadFile`."""
    first = stream.readline(_LONGEST_LINE)
    if first.startswith(b"PK\x03\x04"):
        raise BadFile("expected CSV or NDJSON, got a workbook: save it as CSV UTF-8")
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadFile("expected UTF-8, got UTF-16: save it as CSV UTF-8")
    texts = _Texts(stream)
    stream.seek(0)
    bare = _QUOTED.sub("", without_end(first).decode("utf-8", "replace"))
    delimiter = max(_DELIMITERS, key=bare.count)
    try:
        header = next(csv.reader(texts, delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise BadFile(f"line 1: {_told(error)}") from error
    if texts.flaw is not None:
        raise BadFile(f"line 1: {texts.flaw}, got other bytes: save it as CSV UTF-8")
    if not any(header):
        raise BadFile("line 1: expected a header line, with the names of the columns")
    return header, delimiter


def _told(error: csv.Error) -> str:
    text = str(error)
    return next((told for words, told in _SYNTAX if words in text), text)
