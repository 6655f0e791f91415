"""The summary of `submit` says what happened, what was written, and how to go on."""

from pathlib import Path

import pytest

from worker.tools.cli.output import Page
from worker.tools.submit.advice import about_credentials, retry_commands
from worker.tools.submit.drawing import TIMES, draw
from worker.tools.submit.options import ColumnOptions, CredentialsOptions
from worker.tools.submit.report import FaultGroup, FaultyRow, RefusalReason, SubmitReport

ANSWERS = "units.csv.answers.csv"


def _drawn(capsys: pytest.CaptureFixture[str], **parts: object) -> list[str]:
    report = SubmitReport.model_validate({"file": "units.csv", "dry_run": False, "bad": 0, "faults": (), **parts})
    draw(Page(), report)
    return capsys.readouterr().out.splitlines()


def _reason(outcome: str, status: str, error: str, rows: int) -> RefusalReason:
    return RefusalReason(outcome=outcome, status=status, error=error, rows=rows)


def test_refusals_are_told_by_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """The most frequent first, and the rare ones together."""
    reasons = [
        _reason("rejected", "401", "Unauthorized", 4),
        *(_reason("rejected", "400", f"E{n}", 1) for n in range(6)),
    ]
    told = _drawn(
        capsys,
        rows=12,
        answered=12,
        answers_file=ANSWERS,
        outcomes={"rejected": 10, "created": 2},
        reasons=tuple(reasons),
        advice="Give another key.",
        retry=(
            f"passport-worker submit {ANSWERS} --only overage-required --confirm-overage",
            f"passport-worker submit {ANSWERS} --only rejected",
        ),
    )
    others = ", ".join(f"400 E{number} {TIMES} 1" for number in range(4))
    assert told == [
        "12 rows: 2 created, 10 rejected",
        f"  10 rejected: 401 Unauthorized {TIMES} 4, {others}, other reasons {TIMES} 2",
        f"Answers: {ANSWERS}",
        "Give another key.",
        "To try refused rows again:",
        f"  passport-worker submit {ANSWERS} --only overage-required --confirm-overage  # accepts the price of each",
        f"  passport-worker submit {ANSWERS} --only rejected",
    ]


def test_old_answers_are_told_as_old(capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, or those before this run."""
    assert _drawn(capsys, rows=4, answered_earlier=4, answers_file=ANSWERS, outcomes={"created": 4}) == [
        "all rows were answered earlier, nothing was sent",
        "4 rows: 4 created",
        f"Answers: {ANSWERS}",
    ]
    parts = {"answered_earlier": 3, "answered": 1, "unanswered": 1, "outcomes": {"created": 4}}
    assert _drawn(capsys, rows=5, answers_file=ANSWERS, **parts) == [
        "5 rows, of which 3 were answered earlier: 4 created, 1 without an answer",
        f"Answers: {ANSWERS}",
    ]


def test_no_file_is_named_that_was_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Without rows, with bad ones, in a dry run, and where it failed before the first answer."""
    assert _drawn(capsys, rows=0) == ["0 rows: nothing was sent."]
    assert _drawn(capsys, rows=3, bad=1) == ["3 rows: 1 bad. Nothing was sent; --skip-bad sends the others."]
    assert _drawn(capsys, rows=3, bad=3) == ["3 rows: 3 bad. Nothing was sent."]
    assert _drawn(capsys, rows=3, bad=1, dry_run=True) == ["3 rows: 2 good, 1 bad. Nothing was sent."]
    assert _drawn(capsys, rows=3, unanswered=3) == []


def test_a_fault_is_one_line_and_equal_ones_are_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    """With the first of their rows."""
    rows = tuple(FaultyRow(row=n, line=n + 1, got=f"'{n}'") for n in range(1, 11))
    group = FaultGroup(text="column EAN: too short", advice="pad it", rows=1_200, first=rows)
    single = FaultGroup(text="column SN: Required", advice="", rows=1, first=(FaultyRow(row=7, line=8, got=""),))
    told = _drawn(capsys, rows=2_000, bad=1_201, dry_run=True, faults=(group, single), other_faults=3)
    assert told[:2] == ["column EAN: too short (pad it): 1,200 rows", "    row 1, line 2: '1'"]
    assert told[11:] == [
        "    and 1,190 more",
        "row 7, line 8, column SN: Required",
        "and 3 faults of other kinds",
        "2,000 rows: 799 good, 1,201 bad. Nothing was sent.",
    ]


def test_the_command_that_tries_again_has_the_same_options() -> None:
    """All but the encoding, since answers are UTF-8. A conflict stays one. Two commands write two files."""
    columns = ColumnOptions("cp1252", ("EAN Code=gs1.gtin",), ("productId=1",), ("note",), True, Path("a.yaml"))
    who = CredentialsOptions(credentials_file=Path("key.txt"))
    counts = {"created": 1, "conflict": 2, "overage-required": 3, "rejected": 4}
    base = (
        f"passport-worker submit 'my {ANSWERS}' --map 'EAN Code=gs1.gtin' --set productId=1 --ignore note --pad-gtin "
        "--map-file a.yaml --credentials-file key.txt"
    )
    assert retry_commands(Path(f"my {ANSWERS}"), counts, [*columns.again(), *who.again()]) == [
        f"{base} --only overage-required --confirm-overage --answers 'my {ANSWERS}.overage-required.csv'",
        f"{base} --only rejected --answers 'my {ANSWERS}.rejected.csv'",
    ]
    one = retry_commands(Path(ANSWERS), {"rejected": 1}, [], confirms_overage=True)
    assert one == [f"passport-worker submit {ANSWERS} --only rejected --confirm-overage"]
    signing = CredentialsOptions(signing_key=Path("mes.pem"))
    assert list(signing.again()) == ["--signing-key", "mes.pem"]
    assert retry_commands(Path(ANSWERS), {"created": 1, "conflict": 2}, []) == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("Unauthorized", "does not know this API key or access token"),
        ("Unauthorized: keys-unavailable", "Try later"),
        ("Unauthorized: signature-expired", "after the signature had expired"),
        ("Unauthorized: of-a-newer-worker", "does not know this API key"),
        ("Forbidden: passports:write", "lacks the scope passports:write"),
    ],
)
def test_advice_fits_the_refusal(error: str, told: str) -> None:
    """As far as the answer tells why."""
    assert told in about_credentials(error)


def test_a_command_that_accepts_a_price_says_so_beside_another(capsys: pytest.CaptureFixture[str]) -> None:
    """Seen to fail before: of two commands each has `--answers` at its end, and the remark was gone."""
    outcomes = {"overage-required": 1, "rejected": 1}
    again = tuple(retry_commands(Path("u.answers.csv"), outcomes, []))
    costly, free = _drawn(capsys, rows=2, answered=2, outcomes=outcomes, retry=again)[-2:]
    assert costly.endswith("  # accepts the price of each")
    assert "#" not in free


def test_bad_rows_behind_answers_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Repeated without --skip-bad. Seen to fail before: no word that nothing was sent, and why."""
    told = _drawn(
        capsys,
        rows=10,
        bad=1,
        outcomes={"created": 4, "invalid": 1},
        answered_earlier=5,
        unanswered=5,
        problems=({"code": "bad-rows", "text": "1 row would be refused; nothing was sent."},),
    )
    assert told[-1] == "10 rows: 1 bad. Nothing was sent; --skip-bad sends the others."
