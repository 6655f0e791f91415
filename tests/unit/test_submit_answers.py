"""What `submit` writes survives a kill at any byte, is compared before it goes on, and says what a result said."""

import errno
import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest

from tests.unit.sheets import BODY, GTIN, HEAD, LIMITS, LINE, PRODUCT, table
from worker.domain import outcomes
from worker.domain.seeding import compact_json
from worker.messages.rules import REFUSALS, Kind
from worker.tools.common.answering import NAMES, RowAnswer, error_of, row_answer_of
from worker.tools.common.results import ResultRecord
from worker.tools.submit.answers_file import AnswersFile, CannotWrite, InUse, Reason
from worker.tools.submit.checking import Checked, check, table_of
from worker.tools.submit.columns import Choices
from worker.tools.submit.headers import BadCredentials, Bearer, idempotency_key, record_key
from worker.tools.submit.table import BadFile, Changed, Table

ROWS = 5
CONTENT = f"{HEAD}\n" + "".join(f'{PRODUCT},{GTIN},"U""{n}"\n' for n in range(ROWS))
NDJSON = b"".join(LINE.replace(b"U1", b"U%d" % n) + b"\n" for n in range(ROWS))


def _written(path: Path, sheet: Table, count: int = ROWS) -> bytes:
    """Answers to the first rows, as a run without a kill writes them."""
    with AnswersFile(path, sheet) as answers:
        check(sheet, answers, lambda row: None)
        answers.begin()
        for row, _ in zip(sheet.rows(), range(count), strict=False):
            assert row.command is not None
            answers.append(row, RowAnswer("created", "201", key=idempotency_key(row.command.body)))
        answers.sync()
    return path.read_bytes()


@pytest.mark.parametrize(("name", "content"), [("units.csv", CONTENT.encode()), ("units.ndjson", NDJSON)])
def test_a_kill_at_any_byte_leaves_what_can_be_gone_on_from(tmp_path: Path, name: str, content: bytes) -> None:
    """A torn line, or a torn head, is cut off; whole ones stay; in the end there is the same file."""
    sheet, path = table(tmp_path, content, name=name), tmp_path / "answers"
    whole = _written(path, sheet)
    assert whole.startswith(sheet.head)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with AnswersFile(path, sheet) as answers:
            checked = check(sheet, answers, lambda row: None)
            assert checked.answered == whole[len(sheet.head) : max(size, len(sheet.head))].count(b"\n")
            assert answers.outcomes.total() == checked.answered
            answers.begin()
            for row in list(sheet.rows())[checked.answered :]:
                assert row.command is not None
                answers.append(row, RowAnswer("created", "201", key=idempotency_key(row.command.body)))
        assert path.read_bytes() == whole


def test_answers_to_other_rows_are_not_gone_on_with(tmp_path: Path) -> None:
    """Another column, another row, another order, fewer rows: each is told, and nothing is changed."""
    sheet, path = table(tmp_path, CONTENT), tmp_path / "answers"
    whole = _written(path, sheet)
    lines = CONTENT.splitlines(keepends=True)
    others = (
        (
            CONTENT.replace("gs1.serialNumber", "gs1.serialNumber,confirmOverage").replace('"\n', '",\n'),
            "other columns",
        ),
        (CONTENT.replace('U""3', "U4"), "row 4, line 5: .* another row"),
        ("".join([lines[0], *reversed(lines[1:])]), "row 1, line 2: .* another row"),
        ("".join(lines[:-1]), "more rows"),
    )
    for content, told in others:
        other = table(tmp_path, content, name="other.csv")
        with pytest.raises(BadFile, match=told), AnswersFile(path, other) as answers:
            check(other, answers, lambda row: None)
        assert path.read_bytes() == whole
    quote, status = whole.replace(b'"U""1"', b'"U1""', 1), whole.replace(b",201,", b",", 1)
    for damaged in (quote, status, whole + b"x", whole[:-9] + b"\r\n"):
        path.write_bytes(damaged)
        with pytest.raises(BadFile, match=r"another|no answer|more rows"), AnswersFile(path, sheet) as answers:
            check(sheet, answers, lambda row: None)
        assert path.read_bytes() == damaged


def test_a_row_that_was_not_sent_has_no_key_and_is_compared_too(tmp_path: Path) -> None:
    """What was bad and is corrected now is another file."""
    sheet, path = table(tmp_path, f"{HEAD}\n{PRODUCT},1,U1\n"), tmp_path / "answers"
    with AnswersFile(path, sheet) as answers:
        assert check(sheet, answers, lambda row: None) == Checked(rows=1, bad=1)
        answers.begin()
        answers.append(bad := next(sheet.rows()), bad.invalid())
    with AnswersFile(path, sheet) as answers:
        assert check(sheet, answers, lambda row: None) == Checked(rows=1, bad=1, answered=1)
        assert answers.outcomes == {"invalid": 1}
    corrected = table(tmp_path, f"{HEAD}\n{PRODUCT},{GTIN},U1\n")
    with pytest.raises(BadFile, match="another row"), AnswersFile(path, corrected) as answers:
        check(corrected, answers, lambda row: None)


@contextmanager
def _files_up_to(size: int) -> Iterator[None]:
    """A disk that is full for whatever would be larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_it_and_nothing_is_lost(tmp_path: Path) -> None:
    """A line that does not fit is told and not there; none comes behind it, even if there is room again."""
    sheet, path = table(tmp_path, CONTENT), tmp_path / "answers"
    whole = _written(path, sheet)
    path.unlink()
    rows = list(sheet.rows())
    with AnswersFile(path, sheet) as answers:
        check(sheet, answers, lambda row: None)
        with _files_up_to(len(sheet.head) + 20):
            answers.begin()
            with pytest.raises(CannotWrite, match=r"cannot write .*answers: No space left"):
                answers.append(rows[0], RowAnswer("created"))
            assert path.read_bytes() == sheet.head
        with pytest.raises(CannotWrite):
            answers.append(rows[1], RowAnswer("created"))
        answers.sync()
        assert path.read_bytes() == sheet.head
    with _files_up_to(3), pytest.raises(CannotWrite):
        _written(tmp_path / "others", sheet)
    assert not (tmp_path / "others").exists()
    for left in (b"", b"\0" * 7):  # zeros, as a power cut may leave them
        path.write_bytes(whole[:-10] + left)
        with AnswersFile(path, sheet) as answers:
            assert check(sheet, answers, lambda row: None).answered == ROWS - 1


@pytest.mark.parametrize("zeros", [1, 5, 10_000, 200_000])
@pytest.mark.parametrize("prefix", [0, 1, 7])
def test_a_power_cut_leaves_a_file_that_can_be_gone_on_with(tmp_path: Path, prefix: int, zeros: int) -> None:
    """Of the head a part, and zeros for what was not on the disk yet; with anything behind them it is another file."""
    sheet, path = table(tmp_path, CONTENT), tmp_path / "answers"
    whole = _written(path, sheet)
    path.write_bytes(sheet.head[:prefix] + bytes(zeros))
    assert _written(path, sheet) == whole
    path.write_bytes(sheet.head[:prefix] + bytes(zeros) + b"x")
    with pytest.raises(BadFile, match="other columns"):
        _written(path, sheet)


def test_a_power_cut_within_a_row_leaves_what_can_be_gone_on_from(tmp_path: Path) -> None:
    """Wherever the row is cut: in what it repeats of the input, or in its answer."""
    sheet, path = table(tmp_path, CONTENT), tmp_path / "answers"
    whole = _written(path, sheet)
    last = whole.splitlines(keepends=True)[-1]
    for size in range(len(whole) - len(last) + 1, len(whole)):
        path.write_bytes(whole[:size] + bytes(9))
        with AnswersFile(path, sheet) as answers:
            assert check(sheet, answers, lambda row: None).answered == ROWS - 1


def test_the_head_is_on_the_disk_before_the_first_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a power cut leaves no columns that nobody knows."""
    sheet, path = table(tmp_path, CONTENT), tmp_path / "answers"
    synced: list[bytes] = []
    monkeypatch.setattr("os.fsync", lambda number: synced.append(path.read_bytes()))
    with AnswersFile(path, sheet) as answers:
        check(sheet, answers, lambda row: None)
        answers.begin()
        assert synced == [sheet.head]


def test_who_may_not_read_the_input_may_not_read_the_answers(tmp_path: Path) -> None:
    """Except that we go on with them where the input is only for reading."""
    for mode, expected in ((0o600, 0o600), (0o640, 0o640), (0o400, 0o600)):
        (tmp_path / "units.csv").unlink(missing_ok=True)
        table(tmp_path, CONTENT)
        (tmp_path / "units.csv").chmod(mode)
        path = tmp_path / f"answers-{mode}"
        _written(path, table_of(tmp_path / "units.csv", LIMITS, Choices()))
        assert path.stat().st_mode & 0o777 == expected


@pytest.mark.parametrize("name", ["units.csv", "units.ndjson"])
def test_a_file_that_changes_while_it_is_read_is_not_sent(tmp_path: Path, name: str) -> None:
    """Another one of its name, one that grows, one that is written in its place: no row comes that was not checked."""
    content = CONTENT.encode() if name.endswith("csv") else NDJSON
    path, other = tmp_path / name, tmp_path / "other"

    def grow() -> None:
        with path.open("ab") as stream:
            stream.write(content.splitlines(keepends=True)[-1])

    def overwrite() -> None:
        with path.open("rb+") as stream:
            stream.write(content)

    def replace() -> None:
        other.write_bytes(content)
        os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        other.rename(path)

    for change in (grow, overwrite, replace):
        sheet = table(tmp_path, content * 4, name=name)
        check(sheet, None, lambda row: None)
        time.sleep(0.02)  # coarse clocks of file systems
        change()
        with pytest.raises(Changed, match="has changed while it was read"):
            next(sheet.rows())
    sheet = table(tmp_path, content + content.splitlines(keepends=True)[-1] * 10_000, name=name)
    rows = sheet.rows()
    next(rows)
    time.sleep(0.02)
    grow()
    with pytest.raises(Changed):
        list(rows)


def test_a_quote_that_was_lost_is_not_searched_for_to_the_end(tmp_path: Path) -> None:
    """What cannot be a part of one row's line is no torn one: the file is left as it is."""
    sheet, path = table(tmp_path, CONTENT), tmp_path / "answers"
    whole = _written(path, sheet)
    rows = whole[len(sheet.head) :]
    path.write_bytes(sheet.head + rows.replace(b'"U""0"', b'"U"0"') + b"x\r\n" * 5_000_000)
    with pytest.raises(BadFile, match="another row"), AnswersFile(path, sheet) as answers:
        check(sheet, answers, lambda row: None)


def test_a_file_without_an_answer_goes_and_anything_else_stays(tmp_path: Path) -> None:
    """A head alone helps nobody, and a file that somebody named by mistake is not ours to remove."""
    sheet, path = table(tmp_path, CONTENT), tmp_path / "answers"
    with AnswersFile(path, sheet) as answers:
        check(sheet, answers, lambda row: None)
        answers.begin()
        assert path.read_bytes() == sheet.head
    assert not path.exists()
    path.write_text("a note")
    with pytest.raises(BadFile, match="other columns"):
        _written(path, sheet)
    assert path.read_text() == "a note"
    lines = table(tmp_path, NDJSON, name="units.ndjson")
    for secret in (b"tp_secret_of_somebody", b'{"installed":{"client_id":"x"}}'):  # a line without an end
        path.write_bytes(secret)
        with pytest.raises(BadFile, match="has the answer to another row"):
            _written(path, lines)
        assert path.read_bytes() == secret
    with pytest.raises(BadFile, match="expected a file"), AnswersFile(Path("/dev/null"), sheet):
        pass


def test_reasons_are_counted_up_to_a_bound(tmp_path: Path) -> None:
    """Some name the fields of each row. A formula's apostrophe is no part of the reason."""
    sheet, path = table(tmp_path, CONTENT), tmp_path / "answers"
    (row, *_) = sheet.rows()
    with AnswersFile(path, sheet) as answers:
        check(sheet, answers, lambda row: None)
        answers.begin()
        for number in range(1_500):
            answers.append(row, RowAnswer("rejected", "400", error=f"=error {number}"))
        assert answers.reasons[Reason("rejected", "400", "other reasons")] == 500
        assert answers.reasons.total() == 1_500
    assert sheet.answered(sheet.line(row, RowAnswer("rejected", "400", error="=error"))).error == "=error"


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A second one is told so; a file in which nothing was written goes; one that cannot be written is told."""
    sheet, path = table(tmp_path, CONTENT), tmp_path / "answers"
    with AnswersFile(path, sheet), pytest.raises(InUse), AnswersFile(path, sheet):
        pass
    assert not path.exists()
    with pytest.raises(BadFile, match="cannot write"), AnswersFile(tmp_path / "none" / "answers", sheet):
        pass


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no other process."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    sheet, path = table(tmp_path, CONTENT), tmp_path / "answers"
    with pytest.raises(BadFile, match=r"cannot lock .*answers: No locks available"), AnswersFile(path, sheet):
        pass


def test_the_key_is_that_of_the_body() -> None:
    """UUIDv5 (URL) of the fingerprint: white space and order do not matter, everything else does."""
    canonical = json.dumps(BODY, sort_keys=True, separators=(",", ":")).encode()
    name = f"urn:passport-worker:submit:{sha256(canonical).hexdigest()}"
    assert idempotency_key(dict(BODY)) == str(uuid5(NAMESPACE_URL, name))
    assert idempotency_key(dict(reversed(BODY.items()))) == idempotency_key(dict(BODY))
    assert idempotency_key({**BODY, "confirmOverage": True}) != idempotency_key(dict(BODY))
    assert record_key(dict(BODY)) == GTIN.encode()


def _record(kind: Kind, body: object, *headers: tuple[str, bytes]) -> ResultRecord:
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ResultRecord(kind, "t", 1, 2, 3, b"key", value, [("ce_causationid", b"commands/1/7"), *headers])


def test_a_created_result_tells_passport_and_link() -> None:
    """And whether it was replayed."""
    link = {"digitalLinkUri": "https://id.example/01/1/21/2"}
    created = _record(Kind.CREATED, {"_id": "p", "gs1": link}, ("ce_subject", b"p"))
    strange = '"digitalLinkUri":"'
    worker = compact_json({"gs1": {"serialNumber": strange, **link}}).encode()
    assert row_answer_of(created._replace(value=worker)).digital_link_uri == link["digitalLinkUri"]
    assert row_answer_of(created._replace(value=b'{"digitalLinkUri":"\\"}')).digital_link_uri == ""
    expected = RowAnswer("created", "201", "p", "https://id.example/01/1/21/2", "", "key", "commands/1/7")
    assert row_answer_of(created) == expected
    replayed = created._replace(headers=[*created.headers, ("idempotency-replayed", b"true")])
    assert row_answer_of(replayed) == expected._replace(outcome="replayed")
    assert row_answer_of(created._replace(value=b"a stranger's", headers=[])) == RowAnswer("created", "201", key="key")


def test_a_conflict_tells_whose_passport_it_is() -> None:
    """Ours, with the id; of another company nothing is known."""
    refusal = REFUSALS[outcomes.SerialExists]
    body = {"error": refusal.error, "conflict": refusal.conflict, "passportId": "p", "status": 409}
    assert row_answer_of(_record(Kind.CONFLICT, body)) == RowAnswer(
        "conflict", "409", "p", "", "Serial number already exists for this GTIN", "key", "commands/1/7"
    )


@pytest.mark.parametrize("outcome", REFUSALS, ids=lambda one: one.__name__)
def test_every_refusal_has_outcome_status_and_error(outcome: type[outcomes.Outcome]) -> None:
    """As the topic is called, as the body says it."""
    refusal = REFUSALS[outcome]
    answer = row_answer_of(_record(refusal.kind, {"error": refusal.error, "status": refusal.status}))
    assert answer[:2] == (refusal.kind.label, str(refusal.status))
    assert answer.error == refusal.error


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"error": "overage_required", "message": "DPP quota"}, "overage_required"),
        ({"error": "overage_required", "extraPriceCents": 35}, "overage_required: 35 cents each"),
        ({"error": "Unauthorized", "details": {"reason": "signature-expired"}}, "Unauthorized: signature-expired"),
        ({"error": "subscription_inactive", "details": {"status": "past_due"}}, "subscription_inactive: past_due"),
        ({"error": "E", "details": {"fieldErrors": {"a.b": ["x", "y"], "c": ["z"]}}}, "E: a.b: x; a.b: y; c: z"),
        ({"error": "E\x1b[2J", "details": 7}, "E\\x1b[2J"),
        ({}, ""),
    ],
)
def test_errors_say_what_the_details_say(body: dict[str, object], told: str) -> None:
    """In one line, which no terminal obeys."""
    assert error_of(body) == told


def test_names_and_fields_of_an_answer_are_as_many() -> None:
    """In the order of the columns."""
    assert len(NAMES) == len(RowAnswer._fields)


@pytest.mark.parametrize("secret", ["tp_abc", " tp_abc\n", "Bearer tp_abc", "bearer  tp_abc\r\n"])
def test_credentials_are_one_word(secret: str) -> None:
    """As a file, a variable or a prompt gives it."""
    assert Bearer(secret).headers(b"", "key", None, 0.0) == [("authorization", b"Bearer tp_abc")]


@pytest.mark.parametrize("secret", ["", "  \n", "Bearer ", "two words", "tp_\x00", "tp_ä", "a\nb"])
def test_what_is_no_credential_is_refused_and_not_repeated(secret: str) -> None:
    """Before anything is sent."""
    with pytest.raises(BadCredentials) as refused:
        Bearer(secret)
    assert not secret.strip() or secret.strip() not in str(refused.value)
