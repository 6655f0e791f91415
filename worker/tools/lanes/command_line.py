"""`passport-worker lanes`."""

import shlex
import sys
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal, NoReturn

from cyclopts import App, Parameter
from rich.text import Text

from worker.settings import Settings
from worker.tools.cli.asking import ActOptions, Patience, ask, ask_long, examples
from worker.tools.cli.channels import (
    AllChannels,
    OneChannel,
    again,
    chosen,
    of_partitions,
    serving_also,
    settings_of_all,
)
from worker.tools.cli.errors import BadUsage
from worker.tools.cli.options import timestamp
from worker.tools.cli.output import AsJson, Page, Table, copyable, draw_report, show, status, tally
from worker.tools.cli.running import settings_with_warnings, warn
from worker.tools.common.channels import channel_column, channel_of
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
from worker.tools.lanes.watch import until_answered, watch

app = App(
    name="lanes",
    help_epilogue=examples(
        "lanes --watch", "lanes --channel acme", "lanes --json | jq '.lanes[] | select(.state != \"in-step\")'"
    ),
)


@app.default
def lanes_command(
    *,
    is_watching: Annotated[bool, Parameter(name="--watch", help="Repeat it every 2 s, until Ctrl-C.")] = False,
    is_draining: Annotated[
        bool, Parameter(name="--until-answered", help="Wait until each command has its visible result.")
    ] = False,
    channel: AllChannels = None,
    as_json: AsJson = False,
) -> NoReturn:
    """Show the positions and state of every lane; each partition of a command topic is one.

    A is the next offset to decide (Postgres), E the next whose result is not visible (Kafka). Exits with 1 if a lane
    is halted, or has commands and no worker. `not-served`: the database has the lane, but PASSPORT_CHANNELS lacks its
    channel. With --watch it exits with 0, and with --json each line is then a document. With --until-answered it
    waits, and only a halted lane ends that early.
    """
    if is_watching and is_draining:
        raise BadUsage("--watch: expected without --until-answered")
    settings = serving_also(settings_with_warnings(), channel)

    if is_watching:
        rendered = _as_json_line if as_json else _as_page
        ask(lambda servers: watch(partial(look_at_lanes, servers, channel), rendered), settings)
        sys.exit(0)

    async def asking(servers: Servers) -> LanesReport:
        look = partial(look_at_lanes, servers, channel)
        return await (until_answered(look, warn) if is_draining else look())

    report = ask(asking, settings)
    show(report, as_json=as_json, draw=_draw_lanes, last=_states(report) if report.lanes else None)


_LINES_AROUND = 3
"""Lines of a page that show no lane: the sum, the names of columns, and the cursor."""


def _as_json_line(report: LanesReport) -> str:
    return f"{report.model_dump_json(by_alias=True)}\n"


def _as_page(report: LanesReport) -> str:
    """The report below its time and its sum. Lanes that are not in step go first if a terminal is too low for all."""
    page = Page()
    if page.is_terminal and len(report.lanes) > page.height - _LINES_AROUND:
        report = report.model_copy(
            update={"lanes": sorted(report.lanes, key=lambda lane: lane.state in ("in-step", "not-served"))}
        )
    with page.capture() as captured:
        page.print(Text(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z  ").append_text(_states(report)))
        draw_report(page, report, _draw_lanes)
        if not page.is_terminal:
            page.print()
    return captured.get()


def _states(report: LanesReport) -> Text:
    """The number of lanes in each state; `in-step` and `halted` even if it is 0."""
    counts = Counter({"in-step": 0, "halted": 0})
    counts.update(lane.state for lane in report.lanes)
    return tally(counts)


def _draw_lanes(page: Page, report: LanesReport) -> None:
    names, channels = channel_column([lane.topic if lane.channel is None else lane.channel for lane in report.lanes])
    rows = [
        (
            *channel,
            lane.partition,
            status(lane.state),
            lane.applied,
            lane.emitted,
            None if lane.log_end is None else f"{lane.log_start}-{lane.log_end}",
            lane.lag_records,
            None if lane.lag_seconds is None else f"{lane.lag_seconds:.1f} s",
            lane.member,
            lane.host,
        )
        for channel, lane in zip(channels, report.lanes, strict=True)
    ]
    names = (*names, "partition", "state", "A", "E", "log", "lag", "oldest", "member", "host")
    right = ("partition", "A", "E", "log", "lag", "oldest")
    page.print(Table(names, rows, right=right, spare=("member", "host", "log", "oldest")))


_SEARCH = Parameter(help="Read results from this time on (RFC 3339); by default as far back as needed.")
_ALLOW = Parameter(
    help="A refusal to ignore. original-missing: you know that the original is still to be answered. "
    "channel-not-served: a channel that is not served may lose its passports."
)


@app.command(
    name="recover",
    help_epilogue=examples(
        "lanes recover", 'lanes recover --execute --reason "restored the backup of Tuesday, ticket 4711"'
    ),
)
def recover_command(
    *partitions: Annotated[int, Parameter(help="Partitions of the command topic; by default all.")],
    from_results: Annotated[bool, Parameter(help="Take published results as the truth; the only way so far.")] = True,
    search_from: Annotated[str | None, _SEARCH] = None,
    allow: Annotated[list[Literal["original-missing", "channel-not-served"]] | None, _ALLOW] = None,
    channel: AllChannels = None,
    acting: ActOptions = ActOptions(),
    patience: Patience = 60,
    as_json: AsJson = False,
) -> NoReturn:
    """Make Postgres hold exactly what was published, after it was restored from an older copy.

    Load the catalogue first: no topic holds companies, or revocations of keys. Without --execute it only says what it
    would do, and what prevents it. If it is interrupted, run it again.

    No lane of any channel runs before all are recovered.
    """
    settings = of_partitions(settings_of_all(channel), "partitions", partitions)
    since = None if search_from is None else timestamp("--search-from", search_from)
    # With --channel, `settings` serve one channel alone. Served lanes of other channels can be recovered later.
    served = frozenset(Settings().by_commands)
    request = RecoverRequest(partitions, since, frozenset(allow or ()), acting.author_if_executed(), served)

    # A later failure is added to the newest of these, which says what was written until then.
    so_far = [RecoverReport(executed=False, operation=None, warnings=(), lanes=())]

    def failed(problem: Problem) -> RecoverReport:
        return so_far[-1].model_copy(update={"problems": (*so_far[-1].problems, problem)})

    async def asking(servers: Servers, progress: Progress) -> RecoverReport:
        try:
            return await recover(servers, request, progress, so_far.append)
        except CannotWrite as error:
            return failed(Problem(code="not-written", text=str(error)))

    report = ask_long(asking, failed, patience, to_repair if acting.execute else to_look, settings)
    show(report, as_json=as_json, draw=partial(_draw_recovery, settings=settings))


_EXPIRED = Parameter(help="commands-expired: skip commands that the log has dropped. Publish them again first.")


@app.command(
    name="reset",
    help_epilogue=examples("lanes reset", 'lanes reset 3 --execute --reason "the offset was set ahead, ticket 4711"'),
)
def reset_command(
    *partitions: Annotated[int, Parameter(help="Partitions of the command topic; by default all.")],
    allow: Annotated[list[Literal["commands-expired"]] | None, _EXPIRED] = None,
    channel: OneChannel = None,
    acting: ActOptions = ActOptions(),
    patience: Patience = 60,
    as_json: AsJson = False,
) -> NoReturn:
    """Restart halted lanes whose offset was set by hand, or whose next commands have expired. Stop all workers first.

    E moves to where results end, so that no result is lost or published twice. For lost commits use `lanes recover`.
    Without --execute it only says what it would do.
    """
    author = acting.author_if_executed()
    settings = settings_with_warnings()
    name = chosen(settings, channel)

    async def asking(servers: Servers, progress: Progress) -> ResetReport:
        allowed = frozenset(allow or ())
        try:
            return await reset(servers, partitions, progress, allow=allowed, author=author, channel=name)
        except CannotWrite as error:
            return _not_reset(Problem(code="not-written", text=str(error)))

    needs = to_repair if acting.execute else to_look
    report = ask_long(asking, _not_reset, patience, needs, serving_also(settings, name))
    show(report, as_json=as_json, draw=_draw_reset)


def _not_reset(problem: Problem) -> ResetReport:
    return ResetReport(problems=(problem,), executed=False, operation=None, lanes=())


def _draw_reset(page: Page, report: ResetReport) -> None:
    names = ("partition", "A", "E", "A afterwards", "E afterwards")
    rows = [
        (lane.partition, lane.applied, lane.emitted, lane.applied_after, lane.emitted_after) for lane in report.lanes
    ]
    page.print(Table(names, rows, right=names))
    if report.executed and report.ok:
        page.print("Lanes were moved. Start the workers; `passport-worker audit` checks every result.")
    elif report.ok and any(
        (lane.applied, lane.emitted) != (lane.applied_after, lane.emitted_after) for lane in report.lanes
    ):
        page.print("Nothing was moved. To do it, add --execute --reason TEXT.")
    elif report.ok:
        page.print("No lane is halted by its position: there is nothing to move.")
    for channel in report.halted_elsewhere:
        options = shlex.join(again(channel))
        page.print(copyable(f"Lanes of another channel are halted, too: passport-worker lanes reset {options}"))


def _draw_recovery(page: Page, report: RecoverReport, settings: Settings) -> None:
    names, channels = channel_column([channel_of(settings, lane.topic) for lane in report.lanes])
    columns = ("partition", "A", "E", "published to", "commands", "created", "replayed", "refused", "dead letters")
    rows = []
    for channel, lane in zip(channels, report.lanes, strict=True):
        created, replayed = lane.outcomes.get("created", 0), lane.outcomes.get("replayed", 0)
        counts = (lane.commands, created, replayed, lane.commands - created - replayed, lane.dead_letters)
        rows.append((*channel, lane.partition, lane.applied, lane.emitted, lane.published_end or None, *counts))
    spare = ("dead letters", "refused", "replayed", "created")
    page.print(Table((*names, *columns), rows, right=columns, spare=spare))
    for warning in report.warnings:
        page.print(f"warning: {warning}")
    are_lacking = any(lane.target > lane.applied for lane in report.lanes)
    if report.executed and report.ok and are_lacking:
        page.print("Written. Halted lanes notice it within 30 s. `passport-worker audit` checks every result.")
    elif report.ok and are_lacking:
        page.print("Nothing was written. To do it, add --execute --reason TEXT.")
    elif report.ok:
        page.print("No lane lacks commits: there is nothing to recover.")
