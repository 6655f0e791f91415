"""`submit` sends NDJSON byte for byte, and says of a bad line what the worker would say."""

import json
from pathlib import Path

import pytest

from tests.unit.sheets import BODY, GTIN, HEAD, LIMITS, LINE, bodies, problems, rows_of, table
from worker.tools.common.answering import RowAnswer
from worker.tools.submit.checking import answers_path, table_of
from worker.tools.submit.columns import Choices
from worker.tools.submit.table import BadFile


def test_ndjson_goes_byte_for_byte(tmp_path: Path) -> None:
    """Plain or as a structured CloudEvent; blank lines are no rows, and a byte order mark belongs to the file."""
    spaced = LINE.replace(b'"U1"', b'"U\\u0031" ') + b"  "
    event = b'{"specversion":"1.0","id":"1","source":"/x","type":"y","data":' + LINE + b"}"
    rows = rows_of(tmp_path, b"\xef\xbb\xbf" + LINE + b"\r\n\n" + spaced + b"\n" + event, name="units.ndjson")
    assert [(row.command.value, row.command.is_cloud_event) for row in rows if row.command] == [
        (LINE, False), (spaced, False), (event, True),
    ]  # fmt: skip
    assert [(row.number, row.line) for row in rows] == [(1, 1), (2, 3), (3, 4)]
    assert bodies(rows) == [BODY] * 3


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (LINE.replace(b"0401", b"401"), "field gs1.gtin: GTIN must be 14 digits"),
        (b"{}", "field productId: Required"),
        (b'{"productId":}', "unreadable (not-json): Expected JSON, got a syntax error at column 14"),
        (b"[1]", "unreadable (not-an-object): Expected a JSON object, got an array"),
        (LINE[:-1] + b',"productId":"x"}', 'unreadable (duplicate-key): Expected JSON without duplicate keys'),
        (b"\xff", "unreadable (not-utf8): Expected UTF-8, got an invalid byte at 0"),
        (LINE[:-1] + b',"x":"' + b"y" * 300_000 + b'"}', "unreadable (value-too-large)"),
        (b'{"specversion":"1.0","data":7}', "unreadable (cloudevent-without-data)"),
    ],
)  # fmt: skip
def test_a_bad_line_of_ndjson_is_told_as_the_worker_says_it(tmp_path: Path, line: bytes, told: str) -> None:
    """By the worker's own code; and its answer stands in the answers file, where it can be read again."""
    sheet = table(tmp_path, LINE + b"\n" + line + b"\n" + LINE, name="units.jsonl")
    good, bad, last = sheet.rows()
    assert good.command is not None
    assert last.command is not None
    assert (bad.number, bad.line) == (2, 2)
    assert problems(bad)[0].startswith(told)
    written = sheet.line(bad, RowAnswer("invalid", error=told))
    assert json.loads(written)["answer"]["error"] == told
    assert sheet.answered(written) == RowAnswer("invalid", error=told)


def test_answers_of_ndjson_leave_the_rest_as_it_was(tmp_path: Path) -> None:
    """They stand behind the fields, and are cut off again where an answers file is the input."""
    lines = (LINE, LINE[:-1] + b',"answer":{"mine":1} }')
    sheet = table(tmp_path, b"\n".join(lines), name="units")
    content = b"".join(sheet.line(row, RowAnswer("conflict", key="k")) for row in sheet.rows())
    assert json.loads(content.splitlines()[0])["answer"]["outcome"] == "conflict"
    again = table(tmp_path, content, only=["conflict"], name="units.answers.ndjson")
    assert [row.command.value for row in again.rows() if row.command] == list(lines)
    assert list(table(tmp_path, content, only=["created"], name="units.answers.ndjson").rows()) == []


def test_overage_is_confirmed_in_ndjson_too(tmp_path: Path) -> None:
    """In the body, which is the data of a CloudEvent; so is what `--set` gives."""
    event = b'{"specversion":"1.0","data":' + LINE + b"}"
    choices = Choices(fixed={"gs1.serialNumber": "U2"}, confirm_overage=True)
    rows = rows_of(tmp_path, LINE + b"\n" + event + b"\n" + b'{"gs1":7}', choices=choices, name="a.ndjson")
    expected = {**BODY, "gs1": {"gtin": GTIN, "serialNumber": "U2"}, "confirmOverage": True}
    values = [json.loads(row.command.value) for row in rows if row.command]
    assert values == [expected, {"specversion": "1.0", "data": expected}]
    assert rows[0].kept == LINE
    assert "field gs1: Expected an object" in problems(rows[2])


def test_a_row_that_is_not_sent_is_kept_as_it_was(tmp_path: Path) -> None:
    """What `--confirm-overage` and `--set` give is for this run: a later one, over its answers, was not told."""
    bad = LINE.replace(GTIN.encode(), b"1")
    choices = Choices(fixed={"gs1.serialNumber": "U2"}, confirm_overage=True)
    sheet = table(tmp_path, bad, choices, name="units.ndjson")
    (row,) = sheet.rows()
    assert (row.kept, problems(row)) == (bad, ("field gs1.gtin: GTIN must be 14 digits",))
    again = table(tmp_path, sheet.line(row, RowAnswer("invalid")), only=["invalid"], name="units.answers.ndjson")
    assert [one.kept for one in again.rows()] == [bad]
    (wrong,) = rows_of(tmp_path, LINE, Choices(fixed={"gs1.gtin": "1"}), name="units.ndjson")
    assert (wrong.kept, problems(wrong)) == (LINE, ("field gs1.gtin: GTIN must be 14 digits",))


def test_ndjson_has_no_columns(tmp_path: Path) -> None:
    """So options about them are refused, all at once."""
    with pytest.raises(BadFile) as refused:
        table(tmp_path, LINE, Choices({"a": "productId"}, {}, ["b"], pad_gtin=True), name="a.ndjson")
    assert all(option in str(refused.value) for option in ("--map", "--ignore", "--pad-gtin"))


def test_the_format_is_told_by_name_or_content(tmp_path: Path) -> None:
    """And the answers file is called after the file."""
    for name, content, suffix in (
        ("a.csv", HEAD, "csv"), ("b", HEAD, "csv"), ("c", LINE, "ndjson"), ("d.json", b"", "ndjson"),
        ("e.txt", HEAD, "csv"),
    ):  # fmt: skip
        sheet = table(tmp_path, content, name=name)
        assert answers_path(tmp_path / name, sheet) == tmp_path / f"{name}.answers.{suffix}"
    with pytest.raises(BadFile, match="expected a file"):
        table_of(tmp_path, LIMITS, Choices())
