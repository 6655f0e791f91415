"""Reads commands as NDJSON, one per line. Each is sent byte for byte, plain or as a structured CloudEvent."""

import json
from collections.abc import Collection, Iterator

import orjson

from worker.domain.command import InvalidBody
from worker.messages.body import looks_like_cloud_event, read_body
from worker.messages.envelope import Limits
from worker.messages.json_value import JsonObject, read_object
from worker.tools.common.answering import NAMES, RowAnswer
from worker.tools.submit.columns import Choices, fill
from worker.tools.submit.encodings import UTF8
from worker.tools.submit.table import BadFile, Fault, Row, RowCommand, SourceFile, Torn
from worker.tools.validate.problems import BOM, SYNTAX_ERROR, bounded_lines, problems_of, without_end

_ANSWER = b',"answer":{"outcome":"'
"""`line` adds this after the fields of a row. It is removed again if an answers file is the input."""


class NdjsonFile:
    """See `Table`. Raises `BadFile` for options about columns."""

    suffix = "ndjson"
    head = b""

    def __init__(self, source: SourceFile, limits: Limits, choices: Choices, only: Collection[str] = ()) -> None:
        problems = [*choices.problems()]
        given = {"--map": choices.renamed, "--ignore": choices.ignored, "--pad-gtin": choices.pad_gtin}
        if choices.encoding != UTF8:
            problems.append("--encoding needs a CSV file: NDJSON is UTF-8")
        problems += [f"{option} needs a CSV file: NDJSON has no columns" for option, value in given.items() if value]
        if problems:
            raise BadFile("\n  ".join(("the options do not fit the file:", *problems)))
        self.source, self._limits, self._only = source, limits, only
        self._fixed = [(tuple(path.split(".")), value) for path, value in choices.values()]

    def rows(self) -> Iterator[Row]:
        """See `Table`. Blank lines are not rows."""
        with self.source.open() as stream:
            number = 0
            longest = 2 * self._limits.value_bytes + len(BOM)  # room for an answer after it
            for line, text in enumerate(bounded_lines(stream, longest), 1):
                kept = without_end(text.removeprefix(BOM) if line == 1 else text)
                if kept.strip():
                    number += 1
                    outcome, kept = _without_answer(kept)
                    if not self._only or outcome in self._only:
                        yield self._row(number, line, kept)

    def _row(self, number: int, line: int, text: bytes) -> Row:
        """The row of a line, checked with the worker's own limits and rules."""
        value = text
        whole = read_object(text, self._limits.json_depth) if len(text) <= self._limits.value_bytes else None
        if isinstance(whole, dict):
            is_event = looks_like_cloud_event(whole)
            body = whole.get("data") if is_event else whole
            if isinstance(body, dict):
                value = self._changed(text, whole, body)
                if not isinstance(read_body(body), InvalidBody) and len(value) <= self._limits.value_bytes:
                    return Row(number, line, text, RowCommand(value, body, is_event))
        problems = problems_of(value, self._limits)
        return Row(number, line, text, None, tuple(map(_fault, problems)))

    def _changed(self, text: bytes, whole: JsonObject, body: JsonObject) -> bytes:
        """The value with the fields that options set in every body."""
        if not self._fixed:
            return text
        for path, value in self._fixed:
            try:
                fill(body, path, value)
            except ValueError:  # the rules report what is wrong there
                return text
        return json.dumps(whole, separators=(",", ":")).encode("ascii")

    def line(self, row: Row, answer: RowAnswer) -> bytes:
        """See `Table`. The answer follows an object's own fields, which stay as they were."""
        added = orjson.dumps(dict(zip(NAMES, answer, strict=True)))
        return b"".join((self._before_answer(row), added, b"}\n"))

    def _before_answer(self, row: Row) -> bytes:
        """The part of a row in an answers file before the answer."""
        kept = row.kept.rstrip()
        if row.command is None and not isinstance(read_object(kept, self._limits.json_depth), dict):
            return b'{"input":' + json.dumps(kept.decode("utf-8", "replace")).encode() + b',"answer":'
        between = b"" if kept[:-1].strip() == b"{" else b","
        return b"".join((kept[:-1], between, b'"answer":'))

    def records(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """See `Table`."""
        return lines

    def answered(self, record: bytes) -> RowAnswer:
        """See `Table`."""
        if not record.endswith(b"\n"):
            raise Torn("torn")
        # The last one is the answer: a row's own fields may hold the same text.
        answer = json.loads(record[record.rindex(_ANSWER[1:]) + len(b'"answer":') : -2])
        if tuple(answer) != NAMES:
            raise ValueError("its answer has other fields")
        return RowAnswer(*answer.values())

    def is_part(self, torn: bytes, row: Row) -> bool:
        """See `Table`."""
        before = self._before_answer(row)
        # `begin` removes a torn line. Any other text may be the end of a file that a person named by mistake.
        return before.startswith(torn) or torn.startswith(before)


def _without_answer(text: bytes) -> tuple[str | None, bytes]:
    """The outcome in an answers file's row, and the row without its answer."""
    at = text.rfind(_ANSWER)
    if at < 0 or not text.endswith(b"}}"):
        return None, text
    try:
        answer = orjson.loads(text[at + len(b',"answer":') : -1])
    except orjson.JSONDecodeError:
        return None, text
    return (answer["outcome"], text[:at] + b"}") if tuple(answer) == NAMES else (None, text)


def _fault(problem: str) -> Fault:
    """A problem that the worker's rules found. The column of a syntax error is apart, so that equal faults group."""
    if (position := SYNTAX_ERROR.search(problem)) is not None:
        return Fault(problem.partition(", got ")[0], f"a syntax error at column {int(position[1]) + 1}")
    return Fault(problem if problem.startswith(("unreadable", "further")) else f"field {problem}")
