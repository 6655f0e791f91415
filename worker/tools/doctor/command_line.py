"""`passport-worker doctor`."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from worker.tools.cli.asking import ask, examples
from worker.tools.cli.channels import AllChannels, serving_also
from worker.tools.cli.output import AsJson, Page, Table, show, status, tally
from worker.tools.cli.running import settings_with_warnings
from worker.tools.doctor.doctor import NOT_CHECKED
from worker.tools.doctor.doctor import doctor as examine
from worker.tools.doctor.report import CheckReport, DoctorReport

app = App(
    name="doctor",
    help_epilogue=examples("doctor", "doctor --strict --json | jq '.checks[] | select(.status != \"ok\")'"),
)

Strict = Annotated[bool, Parameter(help="Exit with 1 for warnings, too.")]


@app.default
def doctor_command(*, strict: Strict = False, channel: AllChannels = None, as_json: AsJson = False) -> NoReturn:
    """Check that servers, topics, rights, clocks, daily partitions, lanes and certificates are ready for a worker.

    Changes nothing. `run` makes the same checks of servers, rights and topics. Exits with 1 if a check has failed.
    """
    settings = serving_also(settings_with_warnings(), channel)
    report = ask(lambda servers: examine(servers, channel, strict=strict), settings)
    counts = Counter(check.status for check in report.checks)
    last = tally({word: counts[word] for word in ("ok", "warning", "failed", "skipped")})
    show(report, as_json=as_json, draw=_draw_checks, last=last)


def _draw_checks(page: Page, report: DoctorReport) -> None:
    """Draw one line per check. Problems are shown in full below the table, so that no finding appears twice."""
    below = {problem.code for problem in report.problems}
    folded = [check for check in report.checks if check.status == "skipped" and check.advice is None]
    rows = []
    for check in report.checks:
        text = "see below" if check.id in below else ". ".join(filter(None, (check.finding, check.advice)))
        if check not in folded:
            rows.append((check.id, status(check.status), text))
    page.print(Table(("check", "status", "finding"), rows, wraps=("finding",)))
    if folded:
        page.print(_skipped(folded))


def _skipped(checks: Sequence[CheckReport]) -> str:
    """Name skipped checks in one line; count those that a failed check prevents."""
    prevented = [check.finding for check in checks if check.finding.startswith(NOT_CHECKED)]
    reasons = Counter(finding.removeprefix(NOT_CHECKED) for finding in prevented)
    parts = [f"{count} checks, {reason}" for reason, count in reasons.items()]
    if others := ", ".join(check.id for check in checks if check.finding not in prevented):
        parts.append(others)
    return f"Skipped: {'; '.join(parts)}. --json says why."
