"""`validate` says of each value in a file what the worker would say, and takes files as they come."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.schema_checks import SCHEMAS
from worker.messages.envelope import Limits
from worker.tools.cli.main import main
from worker.tools.validate.problems import looks_like_csv, problems_of
from worker.tools.validate.validation import NOT_CHECKED, checked_values, summary

LIMITS = Limits(value_bytes=400)
GOOD = b'{"productId":"6650a1b2c3d4e5f6a7b8c9d0","gs1":{"gtin":"04012345000016","serialNumber":"1"}}'
BAD = GOOD.replace(b"04012345000016", b"4012345000016")
GTIN = ("gs1.gtin: GTIN must be 14 digits",)
PRETTY = json.dumps(json.loads(GOOD), indent=2).encode()
NOT_JSON = "unreadable (not-json)"


def _found(text: bytes, limits: Limits = LIMITS) -> list[tuple[int, str]]:
    """Line and first words of each problem; a good value is there with an empty text."""
    return [
        (one.line, problem.partition(":")[0] if problem.startswith("unreadable") else problem)
        for one in checked_values(io.BytesIO(text), limits)
        for problem in one.problems or ("",)
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", []),
        (b"\n \r\n\t\n", []),
        (GOOD, [(1, "")]),
        (GOOD + b"\n", [(1, "")]),
        (GOOD + b"\r\n" + BAD + b"\r\n", [(1, ""), (2, *GTIN)]),
        (b"\n\n" + BAD + b"\n\n\n" + GOOD, [(3, *GTIN), (6, "")]),
        (b"nonsense\n" + GOOD + b"\n[]\n\xff\n" + BAD, [
            (1, NOT_JSON), (2, ""), (3, "unreadable (not-an-object)"), (4, "unreadable (not-utf8)"), (5, *GTIN),
        ]),
        (b'{"productId":\n' + GOOD + b"\n" + BAD, [(1, NOT_JSON), (2, ""), (3, *GTIN)]),
        (b'{"productId":\n[\n' + GOOD + b"\n" + BAD, [(1, NOT_JSON), (2, NOT_JSON), (3, ""), (4, *GTIN)]),
        (b'{"a":\n"' + b"x" * 500 + b'"\n' + GOOD, [(1, "unreadable (value-too-large)"), (3, "")]),
        (b"\xef\xbb\xbf" + GOOD + b"\n" + GOOD, [(1, "unreadable (bom)"), (2, "")]),
        (b"x" * 401 + b"\n" + GOOD, [(1, "unreadable (value-too-large)"), (2, "")]),
        (b"x" * 5000 + b"\n" + b"y" * 70000 + b"\n" + GOOD, [
            (1, "unreadable (value-too-large)"), (2, "unreadable (value-too-large)"), (3, ""),
        ]),
        (GOOD + b" " * (400 - len(GOOD)) + b"\r\n" + GOOD, [(1, ""), (2, "")]),
        (b"{}\n" * 3, [(n, text) for n in (1, 2, 3) for text in ("productId: Required", "gs1: Required")]),
    ],
)  # fmt: skip
def test_each_line_is_a_value_and_none_stops_the_rest(text: bytes, found: list[tuple[int, str]]) -> None:
    """Blank lines are none; broken ones, too long ones and such that are no text have their verdict like all others."""
    assert _found(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (PRETTY, [(1, "")]),
        (b"\n\n" + PRETTY.replace(b"\n", b"\r\n") + b"\r\n", [(3, "")]),
        (PRETTY.replace(b'"04', b'"4'), [(1, *GTIN)]),
        (PRETTY.replace(b",", b"", 1), [(1, NOT_JSON)]),
        (b"\xef\xbb\xbf" + PRETTY, [(1, "unreadable (bom)")]),
        (b'{"productId":"6650a1b2c3d4e5f6a7b8c9d0",\n"gs1":\n{"gtin":"04012345000016","serialNumber":"1"}}', [(1, "")]),
        (b"[\n" + GOOD + b",\n" + GOOD + b"\n]\n", [(1, "unreadable (not-an-object)")]),
        (PRETTY.replace(b"\n", b"\n" * 100), [(1, "unreadable (value-too-large)")]),
        (PRETTY + b"\n" + b" " * 1000, [(1, "unreadable (value-too-large)")]),
    ],
)  # fmt: skip
def test_a_document_over_many_lines_is_one_value(text: bytes, found: list[tuple[int, str]]) -> None:
    """As an editor or `jq` writes it; the line is where it begins."""
    assert _found(text) == found


def test_of_many_wrong_fields_the_first_are_named_and_the_others_counted() -> None:
    """As the worker answers it."""
    value = json.dumps({**json.loads(GOOD), "parties": dict.fromkeys(map(str, range(107)))}).encode()
    problems = problems_of(value, Limits())
    assert (len(problems), problems[-1]) == (58, "further wrong fields: 50")


def test_structured_cloud_events_are_known_by_their_look() -> None:
    """A file has no content type: `specversion`, and nothing of a command beside it."""
    event = b'{"specversion":"1.0","id":"1","source":"/","type":"t","data":%s}'
    assert problems_of(event % GOOD, LIMITS) == ()
    assert problems_of(event % BAD, LIMITS) == GTIN
    assert problems_of(b'{"specversion":"1.0"}', LIMITS)[0].startswith("unreadable (cloudevent-without-data)")
    assert problems_of(b'{"specversion":"1.0",' + GOOD[1:], LIMITS) == ()


def test_all_problems_of_a_value_are_told_with_their_paths() -> None:
    """As in the rejected event: every field at once."""
    value = b'{"productId":1,"gs1":{},"parties":{"importer":{"legalName":""}},"confirmOverage":0}'
    assert {problem.partition(":")[0] for problem in problems_of(value, LIMITS)} == {
        "productId", "gs1.gtin", "gs1.serialNumber", "parties.importer.legalName", "parties.importer", "confirmOverage",
    }  # fmt: skip


def test_nothing_of_the_input_commands_the_terminal() -> None:
    """Names of unknown roles are shown in escapes where they are not printable."""
    (problem, *_) = [
        one
        for one in problems_of(GOOD[:-1] + rb',"parties":{"\u001b[2J\ud800\u202eGr\u00f6\u00dfe\n":{}}}', LIMITS)
        if one.startswith("parties")
    ]
    assert problem.startswith(r"parties.\x1b[2J\ud800\u202eGröße\n: Expected one of the roles")


@pytest.mark.parametrize(
    ("more", "warnings"),
    [
        (b'"partys":{}', ["partys: unknown field, which is ignored; did you mean parties?"]),
        (b'"CONFIRMOVERAGE":1', ["CONFIRMOVERAGE: unknown field, which is ignored; did you mean confirmOverage?"]),
        (b'"\\u001b[2J":{}', [r"\x1b[2J: unknown field, which is ignored"]),
        (b'"gs1":{"gtin":"04012345000016","serialNumber":"1","serial":2}', [
            "gs1.serial: unknown field, which is ignored; did you mean serialNumber?",
        ]),
        (b'"parties":{"importer":{"legalName":"x","legacyOperatorId":"1","contry":"DE"}}', [
            "parties.importer.contry: unknown field, which is ignored; did you mean country?",
        ]),
        (b'"confirmOverage":true', []),
    ],
)  # fmt: skip
def test_fields_that_nobody_knows_are_warned_of(more: bytes, warnings: list[str]) -> None:
    """The value is good, as the worker has it. Seen to fail before: not a word, and the overage was not confirmed."""
    members = GOOD[1:-1] if not more.startswith(b'"gs1"') else b'"productId":"6650a1b2c3d4e5f6a7b8c9d0"'
    value = b"{" + members + b"," + more + b"}"
    for one in (value, b'{"specversion":"1.0","data":' + value + b"}"):
        (verdict,) = checked_values(io.BytesIO(one), Limits())
        assert (verdict.problems, list(verdict.warnings)) == ((), warnings)


def test_a_value_of_unknown_fields_fills_no_screen() -> None:
    """Nor do their names."""
    names = b",".join(b'"%d%s":0' % (n, b"x" * 200) for n in range(200))
    (verdict,) = checked_values(io.BytesIO(GOOD[:-1] + b"," + names + b"}"), Limits())
    assert (len(verdict.warnings), verdict.warnings[-1]) == (21, "and 180 more unknown fields")
    assert max(map(len, verdict.warnings)) < 150


@pytest.mark.parametrize(
    "value", [b"{", b"[]", b'{"parties":{"importr":{}}}', b'{"specversion":"1.0","data":7}', b"x" * 500]
)
def test_what_is_an_error_is_no_warning(value: bytes) -> None:
    """It has been told already."""
    (verdict,) = checked_values(io.BytesIO(value), LIMITS)
    assert (bool(verdict.problems), verdict.warnings) == (True, ())


def test_a_syntax_error_in_a_document_is_told_with_line_and_column() -> None:
    """Of the file; a single line needs neither."""
    (verdict,) = checked_values(io.BytesIO(b"\n" + PRETTY.replace(b'"gtin"', b"'gtin'")), LIMITS)
    assert verdict.problems[0].endswith("got a syntax error at character 61 (line 5, column 5)")
    (verdict,) = checked_values(io.BytesIO(b"{'gtin'}"), LIMITS)
    assert verdict.problems[0].endswith("got a syntax error at character 1")


@pytest.mark.parametrize(("name", "count"), [("create.v1.valid", 0), ("create.v1.invalid", 1)])
def test_the_examples_of_the_schemas_are_judged_as_they_are_named(name: str, count: int) -> None:
    """Files that everybody has can be tried."""
    with (SCHEMAS / "examples" / f"{name}.json").open("rb") as stream:
        (verdict,) = checked_values(stream, Limits())
    assert (verdict.line, len(verdict.problems)) == (1, count)


def test_memory_stays_bounded() -> None:
    """A line of a gigabyte is never held: no more is asked for at once than a value may have, or a chunk."""

    class Endless(io.RawIOBase):
        asked = 0
        largest = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            self.asked += 1
            self.largest = max(self.largest, size)
            return b"x" * size if self.asked < 2000 else b""

    stream = Endless()
    (verdict,) = checked_values(stream, LIMITS)  # type: ignore[arg-type]
    assert verdict.problems[0].startswith("unreadable (value-too-large)")
    assert 0 < stream.largest <= 64 * 1024


def test_values_are_judged_as_they_come() -> None:
    """Whoever pipes a stream sees verdicts before its end."""

    def lines() -> Iterator[bytes]:
        yield from (BAD + b"\n", GOOD + b"\n")
        raise AssertionError("read ahead")

    class Live(io.RawIOBase):
        source = lines()

        def readline(self, size: int | None = -1, /) -> bytes:
            return next(self.source)

    assert next(checked_values(Live(), LIMITS)).problems == GTIN  # type: ignore[arg-type]


@given(st.lists(st.binary(max_size=60).filter(lambda line: b"\n" not in line and line.strip())))
def test_no_bytes_stop_it(lines: list[bytes]) -> None:
    """Every line that is not blank has a verdict, unless the first begins a document."""
    found = list(checked_values(io.BytesIO(b"\n".join([GOOD, *lines])), LIMITS))
    assert [one.line for one in found] == list(range(1, len(lines) + 2))
    assert [bool(one.problems) for one in found] == [False, *[True] * len(lines)]


_BROKEN = [b"{", b"}", b'{"a":', b'"b": 1,', b"xyz", b"", b"\r", b"\xff", b"x" * 500, b"\xef\xbb\xbf{", b"{}"]
_PIECES = [*_BROKEN, GOOD, GOOD]


@given(st.lists(st.sampled_from(_PIECES), max_size=8), st.sampled_from([b"\n", b"\r\n"]))
def test_good_lines_are_found_whatever_is_around_them(lines: list[bytes], end: bytes) -> None:
    """Also where broken lines look like the beginning of a document."""
    found = list(checked_values(io.BytesIO(end.join(lines)), LIMITS))
    assert [one.line for one in found if not one.problems] == [n for n, line in enumerate(lines, 1) if line == GOOD]
    assert sorted({one.line for one in found}) == [one.line for one in found]


def test_the_summary_says_what_was_not_checked() -> None:
    """Nobody takes a good file for accepted commands."""
    assert summary(1, 0).plain == f"1 command: 1 good, 0 bad. {NOT_CHECKED}"
    assert summary(2, 3).plain.startswith("5 commands: 2 good, 3 bad. ")


def validated(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """Exit code and output of the verb."""
    with pytest.raises(SystemExit) as ended:
        main(["validate", *arguments])
    return ended.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("units.csv", b"productId\n6650a1b2c3d4e5f6a7b8c9d0\n"),
        ("units.txt", b"\xef\xbb\xbfproductId;gs1.gtin;Gr\xc3\xb6\xc3\x9fe\r\n1;2;3\r\n"),
        ("units.txt", b"sep=;\nproductId;gs1.gtin\n"),
        ("units", b'"productId","gs1.gtin"\n'),
    ],
)
def test_csv_is_named(name: str, text: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the verb that checks it, and not one error a row."""
    file = tmp_path / name
    file.write_bytes(text)
    told = f"passport-worker: {file}: this looks like CSV: `passport-worker submit {file} --dry-run` checks it\n"
    assert validated(capsys, str(file)) == (2, "", told)


@pytest.mark.parametrize("text", [GOOD, b"[1, 2]", b'{"a":1, "b"\n', b'"a": 1,\n', b"nonsense", b"", PRETTY])
def test_what_is_no_csv(text: bytes) -> None:
    """Also where it is broken."""
    assert not looks_like_csv(text, ".ndjson")


def test_json_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Problems and warnings by line; it fits its schema, and the exit code stays."""
    file = tmp_path / "commands.ndjson"
    file.write_bytes(GOOD + b"\n" + BAD[:-1] + b',"x":1}\nnonsense\n')
    code, out, _ = validated(capsys, str(file), "--json")
    report = json.loads(out)
    Draft202012Validator(json.loads((SCHEMAS / "operations" / "validate.json").read_text())).validate(report)
    assert (code, report["ok"], report["good"], report["bad"], report["omitted"]) == (1, False, 1, 2, 0)
    assert [(problem["code"], problem["place"]) for problem in report["problems"]] == [
        ("invalid", "line 2"),
        ("unreadable", "line 3"),
    ]
    assert report["warnings"] == [{"line": 2, "text": "x: unknown field, which is ignored"}]


def test_json_document_is_bounded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory does not grow with the file."""
    monkeypatch.setattr("worker.tools.validate.command_line.MOST_LINES", 2)
    file = tmp_path / "commands.ndjson"
    file.write_bytes(b"nonsense\n" * 5)
    report = json.loads(validated(capsys, str(file), "--json")[1])
    assert (len(report["problems"]), report["bad"], report["omitted"]) == (2, 5, 3)
