"""The report of `submit` as people read it."""

from collections.abc import Iterable

from rich.text import Text

from worker.messages.hints import printable
from worker.tools.cli.output import Page, copyable, tally
from worker.tools.submit.advice import CONFIRM_OVERAGE
from worker.tools.submit.report import BAD_ROWS, FaultGroup, SubmitReport
from worker.tools.submit.table import OUTCOMES, REFUSED, Fault

TIMES = "\N{MULTIPLICATION SIGN}"
_MOST_REASONS = 5
"""Reasons that are printed for each outcome."""


def draw(page: Page, report: SubmitReport) -> None:
    """Print faults, counts, reasons of refusals, files that were written, and how to continue."""
    _draw_groups(page, report.faults)
    if report.other_faults:
        page.print(f"and {report.other_faults:,} faults of other kinds")
    _draw_groups(page, report.duplicates)
    if report.dry_run:
        page.print(_sentence(report.rows, {"good": report.rows - report.bad, "bad": report.bad}, "Nothing was sent."))
    elif report.rows == 0:
        page.print("0 rows: nothing was sent.")
    else:
        if report.outcomes:
            _draw_answers(page, report)
        if report.bad and (not report.outcomes or any(problem.code == BAD_ROWS for problem in report.problems)):
            others = "; --skip-bad sends the others" if report.bad < report.rows else ""
            page.print(_sentence(report.rows, {"bad": report.bad}, f"Nothing was sent{others}."))
    _draw_next_steps(page, report)


def _draw_next_steps(page: Page, report: SubmitReport) -> None:
    if report.answers_file is not None:
        page.print(copyable(f"Answers: {report.answers_file}"))
    if report.advice:
        page.print(report.advice)
    if report.retry:
        page.print("To try refused rows again:")
    for command in report.retry:
        comment = "  # accepts the price of each" if f" {CONFIRM_OVERAGE}" in command else ""
        page.print(copyable(f"  {command}{comment}"))


def rows_of(count: int) -> str:
    """A number of rows in words."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def _sentence(rows: int, counts: dict[str, int], then: str) -> Text:
    return Text(f"{rows_of(rows)}: ").append_text(tally(counts)).append(f". {then}")


def _draw_answers(page: Page, report: SubmitReport) -> None:
    earlier = ""
    if report.answered_earlier == report.rows:
        page.print("all rows were answered earlier, nothing was sent")
    elif report.answered_earlier:
        earlier = f", of which {report.answered_earlier:,} were answered earlier"
    counts = {outcome: report.outcomes[outcome] for outcome in OUTCOMES if report.outcomes.get(outcome)}
    if report.unanswered:
        counts["without an answer"] = report.unanswered
    page.print(Text(f"{rows_of(report.rows)}{earlier}: ").append_text(tally(counts)))
    for outcome in OUTCOMES:
        reasons = [reason for reason in report.reasons if reason.outcome == outcome]
        if outcome not in REFUSED or not reasons:
            continue
        shown = [f"{reason.status} {reason.error} {TIMES} {reason.rows:,}" for reason in reasons[:_MOST_REASONS]]
        if others := sum(reason.rows for reason in reasons[_MOST_REASONS:]):
            shown.append(f"other reasons {TIMES} {others:,}")
        page.print(Text("  ").append_text(tally({outcome: report.outcomes[outcome]})).append(f": {', '.join(shown)}"))


def _draw_groups(page: Page, groups: Iterable[FaultGroup]) -> None:
    for group in groups:
        if group.rows == 1:
            row = group.first[0]
            page.print(f"row {row.row}, line {row.line}, {Fault(group.text, row.got, group.advice)}")
            continue
        page.print(Text(str(Fault(group.text, advice=group.advice))).append(f": {rows_of(group.rows)}", "bold"))
        for row in group.first:
            page.print(copyable(f"    row {row.row}, line {row.line}{': ' if row.got else ''}{printable(row.got)}"))
        if (more := group.rows - len(group.first)) > 0:
            page.print(f"    and {more:,} more")
