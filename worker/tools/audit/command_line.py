"""`passport-worker audit`."""

from typing import Annotated, NoReturn

from cyclopts import App, Parameter
from rich.console import Console

from worker.tools.audit.audit import audit
from worker.tools.audit.report import AuditReport
from worker.tools.cli.asking import AsJson, Patience, RangeOptions, ask_long, examples
from worker.tools.cli.output import show, table
from worker.tools.common.prerequisites import to_look
from worker.tools.common.progress import Progress
from worker.tools.common.servers import Servers

app = App(
    name="audit",
    help_format="plaintext",
    help_epilogue=examples("audit", "audit --partition 3 --from 2026-11-26T00:00:00Z --json"),
)

_ALLOW = Parameter(help="Results may be there more than once, with the same bytes.", negative=())
_RATE = Parameter(help="Most commands a second; 0: as fast as it goes.")


@app.default
def audit_command(
    *,
    chosen: RangeOptions = RangeOptions(),  # noqa: B008 - frozen
    allow_repeats: Annotated[bool, _ALLOW] = False,
    rate: Annotated[float, _RATE] = 0,
    patience: Patience = 60,
    as_json: AsJson = False,
) -> NoReturn:
    """Prove that each command has exactly one visible result, with the bytes of the ledger, beside running workers.

    It reads the command topic up to the group's offset, all results and dead letters, and the ledger, and changes
    nothing. Exit 1 where a result or a dead letter is missing, different, doubled, out of order, unasked or foreign.
    """

    async def asking(servers: Servers, progress: Progress) -> AuditReport:
        return await audit(servers, chosen.range(), progress, allow_repeats=allow_repeats, rate=rate)

    report = ask_long(asking, lambda problem: AuditReport(problems=(problem,), lanes=()), patience, to_look)
    show(report, as_json=as_json, draw=lambda console: _draw(console, report))


def _draw(console: Console, report: AuditReport) -> None:
    names = ("partition", "from", "to", "commands", "results", "repeats", "expired", "findings")
    rows = []
    for one in report.lanes:
        counts = (one.commands, one.results, one.repeats, one.expired, sum(one.findings.values()))
        rows.append((one.partition, one.start, one.stop, *counts))
    console.print(table(names, rows, right=names))
    if report.ok:
        console.print(f"Promise kept: {sum(one.commands for one in report.lanes):,} commands, one result each.")
