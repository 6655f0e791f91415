"""`passport-worker lanes`."""

from typing import Annotated, Literal, NoReturn

from cyclopts import App, Parameter
from rich.console import Console

from worker.tools.cli.asking import AsJson, Execute, Patience, Reason, ask, ask_long, examples, reason_to_execute
from worker.tools.cli.options import timestamp
from worker.tools.cli.output import show, table
from worker.tools.common.lane_report import LanesReport
from worker.tools.common.lanes import lanes as look_at_lanes
from worker.tools.common.prerequisites import to_look, to_repair
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.servers import Servers
from worker.tools.lanes.recover import Request, recover
from worker.tools.lanes.recovery_write import CannotWrite
from worker.tools.lanes.report import RecoverReport, ResetReport
from worker.tools.lanes.reset import reset

app = App(
    name="lanes",
    help_format="plaintext",
    help_epilogue=examples("lanes", "lanes --json | jq '.lanes[] | select(.state != \"in-step\")'"),
)


@app.default
def lanes_command(*, as_json: AsJson = False) -> NoReturn:
    """Where every lane stands: one per partition of the command topic.

    A is the next offset to decide (Postgres), E the next whose result is not visible (Kafka). Exit 1 where a lane is
    halted, or has commands and no worker.
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
                    one.partition,
                    one.state,
                    one.applied,
                    one.emitted,
                    None if one.log_end is None else f"{one.log_start}-{one.log_end}",
                    one.lag_records,
                    None if one.lag_seconds is None else f"{one.lag_seconds:.1f} s",
                    one.member,
                    one.host,
                )
                for one in report.lanes
            ],
            right=("partition", "A", "E", "log", "lag", "oldest"),
        )
    )


_SEARCH = Parameter(help="From when on results are read (RFC 3339); as far back as needed, if not given.")
_ALLOW = Parameter(help="A refusal to pass over: its original is still to be answered.", negative=())


@app.command(
    name="recover",
    help_epilogue=examples(
        "lanes recover", 'lanes recover --execute --reason "restored the backup of Tuesday, ticket 4711"'
    ),
)
def recover_command(  # noqa: PLR0913 - options of a command
    *partitions: Annotated[int, Parameter(help="Partitions of the command topic; all, if none is given.")],
    from_results: Annotated[
        bool, Parameter(help="Take what was published as the truth: the only way.", negative=())
    ] = True,
    search_from: Annotated[str | None, _SEARCH] = None,
    allow: Annotated[list[Literal["original-missing"]] | None, _ALLOW] = None,
    execute: Execute = False,
    reason: Reason = None,
    patience: Patience = 60,
    as_json: AsJson = False,
) -> NoReturn:
    """After Postgres was restored from an older copy: make it hold exactly what was published.

    Load the catalogue first: companies, and above all revocations of keys, are in no topic. Without --execute it only
    says what it would do, and what is in the way. Interrupted, run it again.
    """
    since = None if search_from is None else timestamp("--search-from", search_from)
    request = Request(partitions, since, frozenset(allow or ()), execute, reason_to_execute(reason) if execute else "")

    async def asking(servers: Servers, progress: Progress) -> RecoverReport:
        try:
            return await recover(servers, request, progress)
        except CannotWrite as error:
            return _nothing(Problem(code="not-written", text=str(error)))

    report = ask_long(asking, _nothing, patience, to_repair if execute else to_look)
    show(report, as_json=as_json, draw=lambda console: _draw_recovery(console, report))


_EXPIRED = Parameter(
    help="commands-expired: go on behind commands that the log has dropped; publish them again before.", negative=()
)


@app.command(
    name="reset",
    help_epilogue=examples("lanes reset", 'lanes reset 3 --execute --reason "the offset was set ahead, ticket 4711"'),
)
def reset_command(
    *partitions: Annotated[int, Parameter(help="Partitions of the command topic; all, if none is given.")],
    allow: Annotated[list[Literal["commands-expired"]] | None, _EXPIRED] = None,
    execute: Execute = False,
    reason: Reason = None,
    patience: Patience = 60,
    as_json: AsJson = False,
) -> NoReturn:
    """Let halted lanes go on whose offset was set by hand, or whose next commands have expired; stop all workers first.

    E goes to where results end, so that none is lost and none comes twice. It is never used for lost commits: `lanes
    recover` is. Without --execute it only says what it would do.
    """
    why = reason_to_execute(reason) if execute else None

    async def asking(servers: Servers, progress: Progress) -> ResetReport:
        try:
            return await reset(servers, partitions, progress, allow=frozenset(allow or ()), reason=why)
        except CannotWrite as error:
            return _not_reset(Problem(code="not-written", text=str(error)))

    report = ask_long(asking, _not_reset, patience, to_repair if execute else to_look)
    show(report, as_json=as_json, draw=lambda console: _draw_reset(console, report))


def _not_reset(problem: Problem) -> ResetReport:
    return ResetReport(problems=(problem,), executed=False, operation=None, lanes=())


def _draw_reset(console: Console, report: ResetReport) -> None:
    names = ("partition", "A", "E", "A afterwards", "E afterwards")
    rows = [(one.partition, one.applied, one.emitted, one.applied_after, one.emitted_after) for one in report.lanes]
    console.print(table(names, rows, right=names))
    if report.executed:
        console.print("Moved: start the workers. `passport-worker audit` proves that all is well.")
    elif report.ok:
        console.print("Nothing was moved: --execute --reason TEXT does it.")


def _nothing(problem: Problem) -> RecoverReport:
    return RecoverReport(problems=(problem,), executed=False, operation=None, warnings=(), lanes=())


def _draw_recovery(console: Console, report: RecoverReport) -> None:
    names = ("partition", "A", "E", "published to", "commands", "created", "replayed", "refused", "dead letters")
    rows = []
    for one in report.lanes:
        created, replayed = one.outcomes.get("created", 0), one.outcomes.get("replayed", 0)
        others = one.commands - created - replayed
        published = one.published_end or None
        rows.append(
            (
                one.partition,
                one.applied,
                one.emitted,
                published,
                one.commands,
                created,
                replayed,
                others,
                one.dead_letters,
            )
        )
    console.print(table(names, rows, right=names))
    for warning in report.warnings:
        console.print(f"warning: {warning}")
    if report.executed:
        console.print("Written. Halted lanes look again within 30 s. `passport-worker audit` proves that all is well.")
    elif report.ok:
        console.print("Nothing was written: --execute --reason TEXT does it.")
