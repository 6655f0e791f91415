"""A result as a line: for people, on a terminal or in a pipe, and as JSON."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from worker.domain.places import Place
from worker.domain.timestamps import clamp_ms, format_ms, parse_time
from worker.messages.hints import printable
from worker.messages.rules import REPLAYED, ROWS, Kind
from worker.tools.cli.output import status
from worker.tools.common.answering import row_answer_of
from worker.tools.common.answers import body_of_value, child, outcome_class
from worker.tools.common.results import ResultRecord

_STATUS = re.compile("[0-9]{3}")
_LINK = re.compile(r"/01/([0-9]{14})/21/([^/]+)$")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

_GAP = "  "
_OUTCOME, _NAME, _UNIT = 16, 16, 32
_CODE, _SHORT_NAME, _SHORTEST_NAME = 21, 12, 9
"""Widths of columns on a terminal, and of those that replace outcome and name on a narrow one."""
_NARROW = 100
"""A narrower terminal shows the code of a refusal in place of its outcome, status and reason."""
_PIPED = ("time", "outcome", "status", "company", "name", "key", "gtin", "serial number", "error")


class Unit(NamedTuple):
    """A unit: its GTIN and serial number, as a result has them. A terminal needs them `printable`."""

    gtin: str
    serial: str


def unit_of(record: ResultRecord) -> Unit | None:
    """The unit of a passport, or of a valid request; None if the result names none."""
    if match := _LINK.search(row_answer_of(record).digital_link_uri):
        return Unit(match[1], unquote(match[2]))
    gs1 = child(child(body_of_value(record.value or b""), "request"), "gs1")
    gtin, serial = gs1.get("gtin"), gs1.get("serialNumber")
    return Unit(gtin, serial) if isinstance(gtin, str) and isinstance(serial, str) else None


def outcome_of(record: ResultRecord) -> str:
    """The outcome of a result, as `--outcome` takes it."""
    return REPLAYED if record.is_replayed else record.kind.label


def time_of(record: ResultRecord) -> str:
    """The append time of the command, or that of the result if no worker wrote the header."""
    # A stranger's time that `parse_ms` cannot read would end `tail` at this result, each time.
    text = record.header("ce_time") or ""
    return text if _TIME.fullmatch(text) and parse_time(text) else format_ms(clamp_ms(record.timestamp_ms))


class Lines:
    """Makes lines for people. `width` is the terminal's; None means a pipe, where nothing is left out or cut.

    `names` has the names of companies by id.
    """

    def __init__(self, width: int | None, names: Mapping[str, str]) -> None:
        """A line fits 100 columns, unless an identifier is long."""
        self._width, self._names = width, names
        self._day = ""

    def heading(self) -> Text:
        """The names of the columns."""
        if self._width is None:
            return Text(_GAP.join(_PIPED))
        unit = "GTIN and serial, or key"
        if self._width < _NARROW:
            names = ["time    ", _padded("outcome", _CODE), _padded("company", _SHORT_NAME), unit]
        else:
            company = _padded("company", _NAME)
            names = ["time    ", _padded("outcome", _OUTCOME), "   ", company, _padded(unit, _UNIT), "reason"]
        return Text(_GAP.join(names), "bold", no_wrap=True)

    def of(self, record: ResultRecord) -> Text:
        """The line of a result, after a line with its day if the day has changed."""
        return self._piped(record) if self._width is None else self._shown(record, self._width)

    def _piped(self, record: ResultRecord) -> Text:
        fields = fields_of(record)
        company = fields["company"]
        cells = (
            fields["time"],
            _padded(fields["outcome"], _OUTCOME),
            fields["status"],
            company,
            self._names.get(company or ""),
            fields["key"],
            fields["gtin"],
            fields["serialNumber"],
            fields["error"],
        )
        return Text(printable(_GAP.join("-" if cell is None else str(cell) for cell in cells)))

    def _shown(self, record: ResultRecord, width: int) -> Text:
        fields, unit = fields_of(record), unit_of(record)
        line = Text(no_wrap=True)
        day, _, time = fields["time"].partition("T")
        if day != self._day:
            self._day = day
            line.append(f"{day} (UTC)\n", "dim")
        line.append(time[:8] + _GAP)
        is_narrow = width < _NARROW
        word = (is_narrow and fields["code"]) or fields["outcome"]
        line.append_text(status(word)).append(_GAP.rjust((_CODE if is_narrow else _OUTCOME) + len(_GAP) - len(word)))
        if not is_narrow:
            line.append(f"{fields['status'] or '-':<3}{_GAP}")
        company, last = printable(fields["company"] or "-"), printable(" ".join(unit) if unit else fields["key"])
        name_width = _SHORT_NAME if is_narrow else _NAME
        if is_narrow:  # a UUID as key takes a few columns from the name of its company
            left = width - cell_len(line.plain.rpartition("\n")[2]) - len(_GAP) - cell_len(last)
            name_width = max(_SHORTEST_NAME, min(_SHORT_NAME, left))
        name = self._names.get(company)
        line.append(_padded(company, name_width) if name is None else _cut(printable(name), name_width))
        line.append(_GAP + _padded(last, _UNIT))
        left = width - (cell_len(line.plain.rpartition("\n")[2]) + len(_GAP))
        if not is_narrow and left > 0 and (why := _why(fields)):
            line.append(_GAP + _cut(printable(why), left).rstrip())
        line.rstrip()
        return line


def json_line(record: ResultRecord, names: Mapping[str, str]) -> str:
    """A line for programs, with the place and the whole body of the result. ASCII, without control characters."""
    place = str(Place(record.topic, record.partition, record.offset))
    fields = fields_of(record)
    name = names.get(fields["company"] or "")
    fields |= {"companyName": name, "result": place, "body": body_of_value(record.value or b"")}
    return json.dumps(fields, separators=(",", ":"))


def fields_of(record: ResultRecord) -> dict[str, Any]:
    """The fields of all forms; absent values are None."""
    answer, unit = row_answer_of(record), unit_of(record)
    body = {} if record.kind is Kind.CREATED else body_of_value(record.value or b"")  # bodies are slow to read
    known = outcome_class(record.kind, body, replayed=record.is_replayed)
    return {
        "time": time_of(record),
        "outcome": answer.outcome,
        "code": None if known is None else ROWS[known].code,
        "status": int(answer.status) if _STATUS.fullmatch(answer.status) else None,
        "company": record.header("ce_companyid"),
        "key": answer.key,
        "gtin": unit and unit.gtin,
        "serialNumber": unit and unit.serial,
        "passportId": answer.passport_id or None,
        "digitalLinkUri": answer.digital_link_uri or None,
        "error": answer.error or None,
        "command": answer.place or None,
    }


def _why(fields: Mapping[str, Any]) -> str:
    """The code of a refusal, unless the outcome says the same, and its details."""
    if fields["error"] is None or fields["code"] == fields["outcome"]:
        return ""
    details = fields["error"].partition(": ")[2]
    return ": ".join(filter(None, (fields["code"] or fields["error"], fields["code"] and details)))


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _cut(text: str, width: int) -> str:
    """The text in exactly this width. Names and reasons may be cut, identifiers may not."""
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"
