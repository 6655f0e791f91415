"""`passport-worker audit`."""

from functools import partial
from typing import Annotated, NoReturn

from cyclopts import App, Parameter
from rich.text import Text

from worker.settings import Settings
from worker.tools.audit.audit import audit
from worker.tools.audit.report import AuditReport
from worker.tools.cli.asking import Patience, RangeOptions, ask_long, examples
from worker.tools.cli.channels import AllChannels, of_partitions, settings_of_all
from worker.tools.cli.options import check_number
from worker.tools.cli.output import STYLES, AsJson, Page, Table, show, tally
from worker.tools.common.channels import channel_column, channel_of
from worker.tools.common.prerequisites import to_look
from worker.tools.common.progress import Progress
from worker.tools.common.servers import Servers

app = App(
    name="audit",
    help_epilogue=examples("audit", "audit --partition 3 --from 2026-11-26T00:00:00Z --json"),
)

_ALLOW = Parameter(help="Accept results that are visible more than once, if their bytes are equal.")
_RATE = Parameter(help="Most commands per second; 0: no limit.")


@app.default
def audit_command(
    *,
    chosen: RangeOptions = RangeOptions(),
    allow_repeats: Annotated[bool, _ALLOW] = False,
    rate: Annotated[float, _RATE] = 0,
    channel: AllChannels = None,
    patience: Patience = 60,
    as_json: AsJson = False,
) -> NoReturn:
    """Prove that each command has exactly one visible result, with the bytes of the ledger. Workers may run meanwhile.

    Reads the command topics up to the group's offsets, all results and dead letters, and the ledger; changes nothing.
    Exits with 1 if a result or a dead letter is missing, different, doubled, out of order, unasked or foreign.
    Results that a log may have dropped are counted, but are no finding.
    """
    check_number("--rate", rate)
    wanted, settings = chosen.range(), settings_of_all(channel)
    of_partitions(settings, "--partition", wanted.partitions)
    of_partitions(settings, "--from, --to", any(isinstance(bound, int) for bound in (wanted.start, wanted.stop)))

    async def asking(servers: Servers, progress: Progress) -> AuditReport:
        return await audit(servers, wanted, progress, allow_repeats=allow_repeats, rate=rate)

    report = ask_long(asking, lambda problem: AuditReport(problems=(problem,), lanes=()), patience, to_look, settings)
    show(report, as_json=as_json, draw=partial(_draw, settings=settings), last=_verdict(report))


def _verdict(report: AuditReport) -> Text | None:
    """The last line; None if nothing was audited."""
    commands = sum(lane.commands for lane in report.lanes)
    unchecked = sum(lane.unchecked for lane in report.lanes)
    # Results that may be missing are neither a finding nor a kept promise.
    if report.ok and unchecked:
        return Text(
            f"{commands:,} commands, no finding; {unchecked:,} results could not be checked.", STYLES["warning"]
        )
    if report.ok:
        return Text(f"Promise kept: {commands:,} commands, one result each.", STYLES["ok"])
    findings = sum(sum(counts.values()) for counts in (report.elsewhere, *(lane.findings for lane in report.lanes)))
    return Text(f"{commands:,} commands, ").append_text(tally({"finding": findings})) if report.lanes else None


def _draw(page: Page, report: AuditReport, settings: Settings) -> None:
    names, channels = channel_column([channel_of(settings, lane.topic) for lane in report.lanes])
    columns = ("partition", "from", "to", "commands", "results", "repeats", "expired", "unchecked", "findings")
    rows = []
    for of_channel, lane in zip(channels, report.lanes, strict=True):
        counts = (lane.commands, lane.results, lane.repeats, lane.expired, lane.unchecked)
        findings = sum(lane.findings.values())
        rows.append((*of_channel, lane.partition, lane.start, lane.stop, *counts, findings))
    page.print(Table((*names, *columns), rows, right=columns, spare=("from", "to", "unchecked", "expired", "repeats")))
