"""`passport-worker replay`."""

from collections import Counter
from functools import partial
from typing import Annotated, NoReturn
from uuid import UUID

from cyclopts import App, Parameter

from worker.messages.rules import CODES
from worker.settings import Settings
from worker.stream.cluster.permissions import Acl
from worker.tools.cli.asking import ActOptions, AuthorOptions, Patience, RangeOptions, ask_long, examples
from worker.tools.cli.channels import OneChannel, settings_of_one
from worker.tools.cli.errors import BadUsage
from worker.tools.cli.options import check_number, known_names, object_id
from worker.tools.cli.output import AsJson, Page, Table, show, tally
from worker.tools.common.acls import acting_acls, asking_acls
from worker.tools.common.companies import find_company_id
from worker.tools.common.prerequisites import Needs
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.rights import READER, RUN
from worker.tools.common.servers import Servers
from worker.tools.replay.destination import Destination
from worker.tools.replay.replay import AnswerFilter, CannotReplay, ReplayRequest, replay, resume
from worker.tools.replay.report import ReplayReport

app = App(
    name="replay",
    help_epilogue=examples(
        "replay --partition 3 --from 1000 --to 2000",
        'replay --from 2026-11-26T08:00:00Z --company "EuroBat GmbH" --execute --reason "their consumer lost a day"',
    ),
)

_OUTCOME = Parameter(name="--outcome", help=f"Only these outcomes, separated by commas: {', '.join(CODES)}.")
_RATE = Parameter(help="Most records per second; 0: no limit.")
_SUFFIX = Parameter(help="Publish to topics whose names have this suffix, instead of the result topics.")
_INTO = Parameter(
    help="Publish to the topics of this channel, if the replayed channel's cluster or topic is gone for good. "
    "Without --from, only answers that were not noted as visible.",
)
_RESUME = Parameter(
    name="--resume",
    help="Continue this replay, and stop a process that runs it. Only --channel, --into, --rate and --by matter "
    "with it.",
)


@app.default
def replay_command(
    *,
    chosen: RangeOptions = RangeOptions(),
    outcome: Annotated[tuple[str, ...], _OUTCOME] = (),
    company: Annotated[str | None, Parameter(help="Only answers to this company: its id or name.")] = None,
    key: Annotated[str | None, Parameter(help="Only answers under this key of the company.")] = None,
    passport: Annotated[str | None, Parameter(help="Only answers that created or replayed this passport.")] = None,
    rate: Annotated[float, _RATE] = 2000,
    topic_suffix: Annotated[str, _SUFFIX] = "",
    into: Annotated[str | None, _INTO] = None,
    resume_id: Annotated[UUID | None, _RESUME] = None,
    channel: OneChannel = None,
    acting: ActOptions = ActOptions(),
    patience: Patience = 60,
    as_json: AsJson = False,
) -> NoReturn:
    """Publish answers of the ledger again, byte for byte, with their dead letters. Workers may run meanwhile.

    Repeats results up to those that are visible now. Changes nothing else: no passport, no charge, no count. If it is
    interrupted, it says how to continue.
    """
    outcomes = known_names("--outcome", outcome, CODES)
    if key is not None and company is None:
        raise BadUsage("--key: expected --company with it, since each company has its own keys")
    check_number("--rate", rate)
    passport_id = None if passport is None else object_id("--passport", passport)
    if into is not None and topic_suffix:
        raise BadUsage("--into: expected without --topic-suffix")
    destination = Destination(topic_suffix, None if into is None else settings_of_one(into))
    wanted = chosen.range()
    author = acting.author_if_executed() if resume_id is None else AuthorOptions(by=acting.by).author()

    async def asking(servers: Servers, progress: Progress) -> ReplayReport:
        owner: str | Problem | None = None
        if company is not None:
            owner = await servers.postgres(lambda database: find_company_id(database.connection, company))
        if isinstance(owner, Problem):
            return _failed(owner)
        try:
            if resume_id is not None and author is not None:
                return await resume(servers, resume_id, author, rate, progress, destination.into)
            answers = AnswerFilter(outcomes, owner, key, passport_id)
            return await replay(servers, ReplayRequest(wanted, answers, rate, destination, author), progress)
        except CannotReplay as error:
            return _failed(Problem(code="replay-stopped", text=str(error)), error.id)

    needs = partial(_needs, destination=destination, is_executed=acting.execute, is_resumed=resume_id is not None)
    report = ask_long(asking, _failed, patience, needs, settings_of_one(channel))
    show(report, as_json=as_json, draw=_draw)


def _needs(settings: Settings, destination: Destination, *, is_executed: bool, is_resumed: bool) -> Needs:
    """The needs of a replay. A plan only reads the database and the group's progress."""
    if destination.into is None:
        reads = looks = asking_acls(settings)
    else:  # the topics of a lost channel may be gone
        reads = (Acl("Read", "topic", destination.into.topic_created),)
        looks = (*reads, Acl("Describe", "group", settings.group_id))
    if not (is_executed or is_resumed):
        return Needs(READER, looks)
    # Only the operation knows the suffix of a resumed replay.
    topics = [] if is_resumed and destination.into is None else destination.topics(settings)
    progress = Acl("Read", "group", f"{settings.group_id}.replay.", prefixed=True)
    writes = (Acl("Write", "topic", topic) for topic in topics)
    return Needs(RUN, (*reads, *acting_acls(settings), progress, *writes))


def _failed(problem: Problem, id: UUID | None = None) -> ReplayReport:
    return ReplayReport(problems=(problem,), id=None if id is None else str(id), executed=False, lanes=())


def _draw(page: Page, report: ReplayReport) -> None:
    names = ("partition", "from", "to", "next", "records", "bytes", "outcomes")
    rows, totals = [], Counter[str]()
    for lane in report.lanes:
        totals.update(lane.outcomes)
        outcomes = ", ".join(f"{count} {code}" for code, count in sorted(lane.outcomes.items()))
        rows.append((lane.partition, lane.start, lane.stop, lane.next, lane.records, lane.bytes, outcomes))
    page.print(Table(names, rows, right=names[:-1], wraps=("outcomes",), spare=("bytes",)))
    if totals:
        page.print(tally(dict(sorted(totals.items()))))
    if report.ok and not totals and report.executed:
        page.print(f"Nothing was left to publish; the replay's id is {report.id}.")
    elif report.ok and not totals:
        page.print("No answer matches.")
    elif report.ok and not report.executed:
        page.print("Nothing was published. To do it, add --execute --reason TEXT.")
    elif report.executed:
        page.print(f"Published; the replay's id is {report.id}.")
