"""`passport-worker doctor`."""

from typing import Annotated, NoReturn

from cyclopts import App, Parameter
from rich.console import Console

from worker.tools.cli.asking import AsJson, ask, examples
from worker.tools.cli.output import show, table
from worker.tools.doctor.doctor import doctor as examine
from worker.tools.doctor.report import DoctorReport

app = App(
    name="doctor",
    help_format="plaintext",
    help_epilogue=examples("doctor", "doctor --strict --json | jq '.checks[] | select(.status != \"ok\")'"),
)

Strict = Annotated[bool, Parameter(help="Exit with 1 for warnings, too.", negative=())]


@app.default
def doctor_command(*, strict: Strict = False, as_json: AsJson = False) -> NoReturn:
    """Check that servers, topics, rights, clocks, daily partitions, lanes and certificates are ready for a worker.

    Changes nothing. `run` makes the same checks of servers, rights and topics. Exits with 1 if a check has failed.
    """
    report = ask(lambda servers: examine(servers, strict=strict))
    show(report, as_json=as_json, draw=lambda console: _draw_checks(console, report))


def _draw_checks(console: Console, report: DoctorReport) -> None:
    """Draw a line a check. Problems stand in full below the table, so that no finding is shown twice."""
    below = {problem.code for problem in report.problems}
    rows = []
    for check in report.checks:
        text = "see below" if check.id in below else ". ".join(filter(None, (check.finding, check.advice)))
        rows.append((check.id, check.status, text))
    console.print(table(("check", "status", "finding"), rows))
