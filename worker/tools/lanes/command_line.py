"""`passport-worker lanes`."""

from typing import Annotated, Literal, NoReturn

from cyclopts import App, Parameter
from rich.console import Console

from worker.tools.cli.asking import ActOptions, AsJson, Patience, ask, ask_long, examples
from worker.tools.cli.options import timestamp
from worker.tools.cli.output import show, table
from worker.tools.common.lane_report import LanesReport
from worker.tools.common.lanes import lanes as look_at_lanes
from worker.tools.common.prerequisites import to_look, to_repair
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.servers import Servers
from worker.tools.lanes.recover import RecoverRequest, recover
from worker.tools.lanes.report import RecoverReport, ResetReport
from worker.tools.lanes.reset import reset
from worker.tools.lanes.taking_lanes import CannotWrite

app = App(
    name="lanes",
    help_format="plaintext",
    help_epilogue=examples("lanes", "lanes --json | jq '.lanes[] | select(.state != \"in-step\")'"),
)


@app.default
def lanes_command(*, as_json: AsJson = False) -> NoReturn:
    """Show where every lane stands; each partition of the command topic has one.

    A is the next offset to decide (Postgres), E the next whose result is not visible (Kafka). Exits with 1 if a lane
    is halted, or has commands and no worker.
    """
    report = ask(look_at_lanes)
    show(report, as_json=as_json, draw=lambda console: _draw_lanes(console, report))


def _draw_lanes(console: Console, report: LanesReport) -> None:
    columns = ("partition", "state", "A", "E", "log", "lag", "oldest", "member", "host")
    console.print(
        table(
            columns,
            [
                (
                    lane.partition,
                    lane.state,
                    lane.applied,
                    lane.emitted,
                    None if lane.log_end is None else f"{lane.log_start}-{lane.log_end}",
                    lane.lag_records,
                    None if lane.lag_seconds is None else f"{lane.lag_seconds:.1f} s",
                    lane.member,
                    lane.host,
                )
                for lane in report.lanes
            ],
            right=("partition", "A", "E", "log", "lag", "oldest"),
        )
    )


_SEARCH = Parameter(help="Read results from this time on (RFC 3339); by default as far back as needed.")
_ALLOW = Parameter(help="A refusal to pass over, when you know that the original is still to be answered.", negative=())


@app.command(
    name="recover",
    help_epilogue=examples(
        "lanes recover", 'lanes recover --execute --reason "restored the backup of Tuesday, ticket 4711"'
    ),
)
def recover_command(  # noqa: PLR0913 - options of a command
    *partitions: Annotated[int, Parameter(help="Partitions of the command topic; by default all.")],
    from_results: Annotated[
        bool, Parameter(help="Take what was published as the truth; the only way so far.", negative=())
    ] = True,
    search_from: Annotated[str | None, _SEARCH] = None,
    allow: Annotated[list[Literal["original-missing"]] | None, _ALLOW] = None,
    acting: ActOptions = ActOptions(),  # noqa: B008 - frozen
    patience: Patience = 60,
    as_json: AsJson = False,
) -> NoReturn:
    """Make Postgres hold exactly what was published, after it was restored from an older copy.

    Load the catalogue first: no topic holds companies, or revocations of keys. Without --execute it only says what it
    would do, and what is in the way. If it is interrupted, run it again.
    """
    since = None if search_from is None else timestamp("--search-from", search_from)
    request = RecoverRequest(partitions, since, frozenset(allow or ()), acting.author_if_executed())

    async def asking(servers: Servers, progress: Progress) -> RecoverReport:
        try:
            return await recover(servers, request, progress)
        except CannotWrite as error:
            return _not_recovered(Problem(code="not-written", text=str(error)))

    report = ask_long(asking, _not_recovered, patience, to_repair if acting.execute else to_look)
    show(report, as_json=as_json, draw=lambda console: _draw_recovery(console, report))


_EXPIRED = Parameter(
    help="commands-expired: go on behind commands that the log has dropped. Publish them again first.", negative=()
)


@app.command(
    name="reset",
    help_epilogue=examples("lanes reset", 'lanes reset 3 --execute --reason "the offset was set ahead, ticket 4711"'),
)
def reset_command(
    *partitions: Annotated[int, Parameter(help="Partitions of the command topic; by default all.")],
    allow: Annotated[list[Literal["commands-expired"]] | None, _EXPIRED] = None,
    acting: ActOptions = ActOptions(),  # noqa: B008 - frozen
    patience: Patience = 60,
    as_json: AsJson = False,
) -> NoReturn:
    """Let halted lanes go on whose offset was set by hand, or whose next commands have expired. Stop all workers first.

    E moves to where results end, so that no result is lost or comes twice. For lost commits use `lanes recover`.
    Without --execute it only says what it would do.
    """
    author = acting.author_if_executed()

    async def asking(servers: Servers, progress: Progress) -> ResetReport:
        try:
            return await reset(servers, partitions, progress, allow=frozenset(allow or ()), author=author)
        except CannotWrite as error:
            return _not_reset(Problem(code="not-written", text=str(error)))

    report = ask_long(asking, _not_reset, patience, to_repair if acting.execute else to_look)
    show(report, as_json=as_json, draw=lambda console: _draw_reset(console, report))


def _not_reset(problem: Problem) -> ResetReport:
    return ResetReport(problems=(problem,), executed=False, operation=None, lanes=())


def _draw_reset(console: Console, report: ResetReport) -> None:
    names = ("partition", "A", "E", "A afterwards", "E afterwards")
    rows = [
        (lane.partition, lane.applied, lane.emitted, lane.applied_after, lane.emitted_after) for lane in report.lanes
    ]
    console.print(table(names, rows, right=names))
    if report.executed and report.ok:
        console.print("Lanes were moved. Start the workers; `passport-worker audit` checks every result.")
    elif report.ok:
        console.print("Nothing was moved: --execute --reason TEXT does it.")


def _not_recovered(problem: Problem) -> RecoverReport:
    return RecoverReport(problems=(problem,), executed=False, operation=None, warnings=(), lanes=())


def _draw_recovery(console: Console, report: RecoverReport) -> None:
    names = ("partition", "A", "E", "published to", "commands", "created", "replayed", "refused", "dead letters")
    rows = []
    for lane in report.lanes:
        created, replayed = lane.outcomes.get("created", 0), lane.outcomes.get("replayed", 0)
        counts = (lane.commands, created, replayed, lane.commands - created - replayed, lane.dead_letters)
        rows.append((lane.partition, lane.applied, lane.emitted, lane.published_end or None, *counts))
    console.print(table(names, rows, right=names))
    for warning in report.warnings:
        console.print(f"warning: {warning}")
    if report.executed and report.ok:
        console.print("Written. Halted lanes look again within 30 s. `passport-worker audit` checks every result.")
    elif report.ok:
        console.print("Nothing was written: --execute --reason TEXT does it.")
