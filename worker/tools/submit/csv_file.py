"""Reads a spreadsheet as CSV: in UTF-8 or another encoding, with commas, semicolons, tabs or bars between cells."""

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import orjson

from worker.domain.command import InvalidBody
from worker.messages.body import read_body
from worker.messages.envelope import Limits
from worker.messages.hints import printable
from worker.tools.common.answering import RowAnswer
from worker.tools.submit.columns import ANSWER_COLUMNS, Choices, Columns
from worker.tools.submit.encodings import UTF8, is_single_byte, likely_encoding
from worker.tools.submit.table import BadFile, Fault, Row, RowCommand, SourceFile, Torn
from worker.tools.validate.problems import BOM, bounded_lines, problems_of, without_end

_LONGEST_LINE = 1024 * 1024
_LONGEST_RECORD = 8 * _LONGEST_LINE
"""A longer row of an answers file has lost a quote."""
_DELIMITERS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(rb'"?sep=(.)"?', re.IGNORECASE)
"""A first line that tells Excel which character separates cells."""
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a workbook"),
    (b"\xd0\xcf\x11\xe0", "a workbook"),
    (b"\xff\xfe", "a file in UTF-16"),
    (b"\xfe\xff", "a file in UTF-16"),
)
_QUOTED = re.compile(r'"[^"]*"')
_UNREADABLE = re.compile("[\ud800-\udfff]")
"""Only `surrogateescape` makes these characters, from bytes that the encoding lacks."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes cells that start with these for formulas (OWASP, CSV Injection)."""

_LONGEST_SHOWN = 60
_END = "\r\n"

_SYNTAX = (
    ("unexpected end of data", "a quote is opened and never closed"),
    ("field larger than field limit", "a cell is over 131,072 characters long: is its quote not closed?"),
    ("expected after", "a quote inside a quoted cell: write it twice"),
    ("new-line character", "a carriage return inside a cell: put the cell in quotes"),
)
"""Words in the errors of Python's reader, and what they mean to people."""


class _Texts:
    """Lines for Python's reader, with the number of the last line and the first flaw in a row's lines."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._lines = bounded_lines(stream, _LONGEST_LINE)
        self._encoding = encoding
        self._is_unlike_utf8 = encoding != UTF8 and is_single_byte(encoding)
        self.number = 0
        self.flaw: Fault | None = None

    def __iter__(self) -> "_Texts":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        if self.number == 1:
            line = line.removeprefix(BOM)
        if len(line) > _LONGEST_LINE:
            self.flaw = Fault(f"expected lines of at most {_LONGEST_LINE:,} bytes")
        # cp1252 decodes UTF-8 without an error: a company would have a garbled name for good.
        if self._is_unlike_utf8 and not line.isascii() and _is_utf8(line):
            self.flaw = self.flaw or Fault(f"expected {self._encoding}, got UTF-8", advice="leave out --encoding")
        try:
            return line.decode(self._encoding)
        except UnicodeDecodeError:
            if self._encoding != UTF8:
                self.flaw = self.flaw or Fault(f"expected {self._encoding}")
            else:
                name = likely_encoding(line)
                advice = f"use --encoding {name}, or save the file as CSV UTF-8"
                self.flaw = self.flaw or Fault("expected UTF-8", advice=advice)
            return line.decode(self._encoding, "surrogateescape")


class _Cells:
    """Writes cells as one line, without its end."""

    def __init__(self, delimiter: str) -> None:
        # The writer quotes cells that contain characters of the line end.
        self._writer = csv.writer(self, delimiter=delimiter, lineterminator=_END)

    def write(self, text: str) -> str:
        """Python's writer calls this with each line, and `writerow` returns what it returns."""
        return text

    def line(self, cells: Sequence[str]) -> bytes:
        """The line of these cells, quoted if they need it."""
        text: str = self._writer.writerow(cells)
        return text.removesuffix(_END).encode("utf-8")


class CsvFile:
    """See `Table`. Raises `BadFile` for an unusable header line, and says everything that is wrong with it."""

    suffix = "csv"

    def __init__(self, source: SourceFile, limits: Limits, choices: Choices, only: Collection[str] = ()) -> None:
        self.source, self._limits, self._only = source, limits, only
        with source.open() as stream:
            self._heading = read_heading(stream, choices.encoding)
        header, delimiter = self._heading.columns, self._heading.delimiter
        self._columns = Columns(header, choices)
        self._outcome = header.index("answer.outcome") if "answer.outcome" in header else None
        if only and self._outcome is None:
            raise BadFile("--only: expected an answers file, with a column answer.outcome")
        self._cells = _Cells(delimiter)
        names = self._kept(header) + list(ANSWER_COLUMNS)
        # Without a byte order mark, Excel reads the file in its own code page, and garbles umlauts.
        self.head = BOM + self._cells.line(names) + b"\r\n"

    def rows(self) -> Iterator[Row]:
        """See `Table`. Lines of empty cells are not rows: spreadsheets leave some after the last row."""
        with self.source.open() as stream:
            texts = _Texts(stream, self._heading.encoding)
            for _ in range(self._heading.lines_before):
                next(texts)
            # Without `strict`, a quote that is never closed makes one cell of all rows after it, without an error.
            reader = csv.reader(texts, delimiter=self._heading.delimiter, strict=True)
            next(reader)
            number, texts.flaw = 0, None
            while True:
                line = texts.number + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    cells, texts.flaw = [], texts.flaw or Fault(_in_words(error))
                flaw, texts.flaw = texts.flaw, None
                if flaw or any(cells):
                    number += 1
                    outcome = cells[self._outcome] if self._outcome is not None and self._outcome < len(cells) else None
                    if not self._only or outcome in self._only:
                        yield self._row(number, line, cells, flaw)

    def _row(self, number: int, line: int, cells: list[str], flaw: Fault | None) -> Row:
        columns = len(self._columns.header)
        if flaw is None and len(cells) != columns:
            flaw = Fault(f"expected {columns} cells, as the header line has", f"{len(cells)}")
        if flaw is not None:
            return Row(number, line, self._line_of_bad(cells), None, (self._with_column(flaw, cells),))
        kept = self._cells.line(self._kept(cells))
        body = self._columns.body(cells)
        value = orjson.dumps(body)
        content = read_body(body)
        faults = dict(self._columns.spoiled(cells))
        if isinstance(content, InvalidBody):
            errors = [(path, text) for path, texts in content.field_errors.items() for text in texts]
            others = (self._columns.fault(path, text, cells) for path, text in errors if path not in faults)
            return Row(number, line, kept, None, (*faults.values(), *others))
        if faults:
            return Row(number, line, kept, None, tuple(faults.values()))
        if len(value) > self._limits.value_bytes:
            return Row(number, line, kept, None, tuple(map(Fault, problems_of(value, self._limits))))
        return Row(number, line, kept, RowCommand(value, body))

    def _kept(self, cells: list[str]) -> list[str]:
        return [cells[index] for index in self._columns.kept]

    def _line_of_bad(self, cells: list[str]) -> bytes:
        """As many cells as columns, so that the answer is in its own columns. Unreadable bytes are replaced."""
        columns = len(self._columns.header)
        filled = (cells + [""] * columns)[:columns]
        readable = [_UNREADABLE.sub("\ufffd", cell) for cell in filled]
        return self._cells.line(self._kept(readable))

    def _with_column(self, flaw: Fault, cells: list[str]) -> Fault:
        """The flaw with the name of the first column whose cell cannot be read, and a guess at the cell's text."""
        for name, cell in zip(self._columns.header, cells, strict=False):
            if _UNREADABLE.search(cell):
                data = cell.encode(self._heading.encoding, "surrogateescape")
                got = repr(data.decode(likely_encoding(data), "replace"))[:_LONGEST_SHOWN] if flaw.advice else ""
                return Fault(printable(f"column {name}: {flaw.text}"), printable(got), flaw.advice)
        return flaw

    def line(self, row: Row, answer: RowAnswer) -> bytes:
        """See `Table`. No spreadsheet takes an added cell for a formula."""
        added = [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in answer]
        return b"".join((row.kept, self._heading.delimiter.encode("ascii"), self._cells.line(added), b"\r\n"))

    def records(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """See `Table`. A line break within quotes ends no row; the number of quotes before it is odd."""
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

    def answered(self, record: bytes) -> RowAnswer:
        """See `Table`."""
        if not record.endswith(b"\r\n") or record.count(b'"') % 2:
            raise Torn("torn")
        try:
            cells = next(csv.reader([record.decode("utf-8")], delimiter=self._heading.delimiter, strict=True))
        except csv.Error as error:
            raise ValueError(_in_words(error)) from error
        if len(cells) != len(self._columns.kept) + len(ANSWER_COLUMNS):
            raise ValueError(f"{len(cells)} cells")
        added = cells[-len(ANSWER_COLUMNS) :]
        return RowAnswer(*(cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell for cell in added))

    def is_part(self, torn: bytes, row: Row) -> bool:
        """See `Table`. Added cells have no line breaks."""
        rest = torn.removeprefix(row.kept)
        return row.kept.startswith(torn) or (rest != torn and b"\n" not in rest)


class Heading(NamedTuple):
    """How a file begins: the names of its columns, the delimiter, the encoding, the lines before the header line."""

    columns: list[str]
    delimiter: str
    encoding: str
    lines_before: int


def read_heading(stream: BinaryIO, encoding: str) -> Heading:
    """Read the header line. A byte order mark means UTF-8, whatever `encoding` says. Raises `BadFile`."""
    first = stream.readline(_LONGEST_LINE)
    for start, name in _OTHER_FORMATS:
        if first.startswith(start):
            raise BadFile(f"this is {name}: save it as CSV UTF-8")
    if b"\r" in first.rstrip(b"\r\n") and b"\n" not in first:
        raise BadFile("lines end in a carriage return alone, as on an old Macintosh: save the file as CSV UTF-8")
    if first.startswith(BOM):  # such as the answers to a file in another encoding
        encoding = UTF8
    delimiter, is_separator_line = _delimiter_of(without_end(first.removeprefix(BOM)))
    stream.seek(0)
    texts = _Texts(stream, encoding)
    if is_separator_line:
        next(texts)
    line = texts.number + 1
    try:
        columns = next(csv.reader(texts, delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise BadFile(f"line {line}: {_in_words(error)}") from error
    if texts.flaw is not None:
        raise BadFile(f"line {line}: {texts.flaw}")
    if not any(columns):
        raise BadFile(f"line {line}: expected a header line, with the names of the columns")
    return Heading(columns, delimiter, encoding, line - 1)


def _delimiter_of(line: bytes) -> tuple[str, bool]:
    """The delimiter in a first line, and whether the line only names it, and is no header. Raises `BadFile`."""
    separator = _SEPARATOR_LINE.fullmatch(line)
    if separator is None:
        return max(_DELIMITERS, key=_QUOTED.sub("", line.decode("utf-8", "replace")).count), False
    if (delimiter := separator[1].decode("utf-8", "replace")) not in _DELIMITERS:
        raise BadFile(f"line 1: expected sep= with a comma, a semicolon, a tab or a bar, got {delimiter!r}")
    return delimiter, True


def _in_words(error: csv.Error) -> str:
    return next((meaning for words, meaning in _SYNTAX if words in str(error)), str(error))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
