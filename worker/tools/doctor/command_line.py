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

Strict = Annotated[bool, Parameter(help="Exit 1 for warnings, too.", negative=())]


@app.default
def doctor_command(*, strict: Strict = False, as_json: AsJson = False) -> NoReturn:
    """Whether all is as a worker needs it: servers, topics, rights, clocks, daily partitions, lanes, certificates.

    Changes nothing. `run` makes the same checks of servers, rights and topics. Exit 1 where one has failed.
    """
    report = ask(lambda servers: examine(servers, strict=strict))
    show(report, as_json=as_json, draw=lambda console: _draw_checks(console, report))


def _draw_checks(console: Console, report: DoctorReport) -> None:
    """A line a check; what is wrong stands in full below it, so that it is not told twice."""
    below = {one.code for one in report.problems}
    rows = [
        (one.id, one.status, "see below" if one.id in below else ". ".join(filter(None, (one.finding, one.advice))))
        for one in report.checks
    ]
    console.print(table(("check", "status", "finding"), rows))
