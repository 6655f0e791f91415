"""`passport-worker lanes recover`: after Postgres lost commits, makes it hold exactly what was published.

Results are the truth: each was published together with the offset after it, once Postgres had committed it. A visible
result is what was decided, and everything that follows from it is in the command and in the result. A command without
a published result is decided later, as if it had never been decided.

All channels are planned before any lane is written: a key is bound, and a serial number is taken, on any of them.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from worker.store.port import Registered
from worker.tools.common.companies import Company, names_of
from worker.tools.common.connected import Connected, connected_channels
from worker.tools.common.journal import Author, operation
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.servers import Servers
from worker.tools.lanes.lost_lanes import LaneWithLostCommits, find_lost_lanes, lanes_not_served, moved_lanes
from worker.tools.lanes.recovery_plan import PlannedRows, plan_from_kafka
from worker.tools.lanes.recovery_write import recovery_writer
from worker.tools.lanes.report import RecoveredLane, RecoverReport
from worker.tools.lanes.taking_lanes import take_over


@dataclass(frozen=True, slots=True)
class RecoverRequest:
    """Partitions to recover, none for all. Results are read from `search_from` on; None: as far back as needed.

    Without an author, the recovery is only planned. `served` are command topics of channels that are not recovered now.
    """

    partitions: tuple[int, ...]
    search_from: datetime | None
    allow: frozenset[str]
    author: Author | None
    served: frozenset[str] = frozenset()


async def recover(
    servers: Servers, request: RecoverRequest, progress: Progress, note: Callable[[RecoverReport], None]
) -> RecoverReport:
    """Plan the recovery; write it if it has an author and nothing prevents it. Running it again continues.

    `note` gets the report so far, in case of a failure later. Raises `SERVER_ERRORS`, `CannotWrite` and
    `BadSelection`.
    """
    async with AsyncExitStack() as stack:
        channels = await stack.enter_async_context(connected_channels(servers))
        if request.author is None:
            return (await _plan(channels, request, progress))[0]
        topics = [both.settings.topic_commands for both in channels]
        arguments = {"topics": topics, "partitions": request.partitions, "allow": sorted(request.allow)}
        keeping = operation(channels[0].database.connection, "lanes recover", request.author, arguments)
        begun = await stack.enter_async_context(keeping)
        id = str(begun.id)
        # Noted before anything can fail: a person needs the id to find the row of the operation.
        note(RecoverReport(executed=False, operation=id, warnings=(), lanes=()))
        # From here on no worker can write for the lanes, so that the plan still holds when it is written.
        registered = [await take_over(both, request.partitions) for both in channels]
        report, lanes = await _plan(channels, request, progress)
        report = report.model_copy(update={"operation": id})
        if report.ok:
            progress.begin("writing", sum(lane.to_restore for lane in lanes))
            problems = list[Problem]()
            try:
                for both, taken in zip(channels, registered, strict=True):
                    problems += await _write(both, [lane for lane in lanes if lane.channel is both], taken, progress)
            finally:
                # Chunks that were committed before a failure stay, so the report must not say that nothing was written.
                note(report.model_copy(update={"executed": any(lane.has_written for lane in lanes)}))
            # Everything is written by now. An offset that has moved is a problem to report, but undoes nothing.
            report = report.model_copy(update={"executed": True, "problems": tuple(problems)})
        begun.progress |= {
            "lanes": {f"{lane.topic}/{lane.partition}": lane.target for lane in report.lanes},
            "ok": report.ok,
        }
        return report


async def _plan(
    channels: Sequence[Connected], request: RecoverRequest, progress: Progress
) -> tuple[RecoverReport, Sequence[LaneWithLostCommits]]:
    """Find everything that has to be restored, and what prevents it. Writes nothing."""
    lanes = [lane for both in channels for lane in await find_lost_lanes(both, request.partitions, request.search_from)]
    not_served = await lanes_not_served(channels, request.served)
    lost = [lane for lane in lanes if lane.to_restore]
    connection = channels[0].database.connection
    planned = PlannedRows(connection)
    await planned.begin()
    progress.begin("planning", sum(lane.to_restore for lane in lost))
    skipped = [lane for lane in lost if lane.refusals.counts]
    for number, lane in enumerate(lost):
        if lane in skipped:
            continue
        at = lane.applied
        async with plan_from_kafka(lane.channel, lane.partition, (at, lane.target), lane.since) as plan:
            async for stop, chunk in plan.chunks():
                await planned.add(number, chunk)
                for command in chunk:
                    lane.count(command)
                progress.advance(stop - at)
                at = stop
            lane.refusals.update(plan.refusals)
    for row in await planned.refused():
        if row.code == "original-missing" and skipped:
            continue  # the original may be in a lane that was skipped
        lost[row.lane].refuse(row.code, row.offset, row.detail, row.total)
    above = await planned.above_their_plan()
    names = await names_of(connection, [company for company, _, _ in above])
    warnings = [
        f"company {Company(company, names[company])} has {slots} passports, and its plan {most}"
        for company, slots, most in above
    ]
    refusals = [*not_served, *(problem for lane in lanes for problem in lane.refusals.first)]
    report = RecoverReport(
        problems=tuple(problem for problem in refusals if problem.code not in request.allow),
        executed=False,
        operation=None,
        warnings=tuple(warnings),
        lanes=tuple(map(_recovered, lanes)),
    )
    return report, lanes


async def _write(
    both: Connected, lanes: Sequence[LaneWithLostCommits], registered: dict[int, Registered], progress: Progress
) -> list[Problem]:
    """Write the lanes of a channel, in transactions of some thousand records. A failure undoes none before it."""
    async with recovery_writer(both, registered) as writer:
        for lane in (lane for lane in lanes if lane.to_restore):
            offsets = (lane.applied, lane.target)
            async with plan_from_kafka(both, lane.partition, offsets, lane.since) as plan:
                await writer.write(plan, lane, progress)
    return [
        Problem(
            code="offset-moved",
            place=f"{lane.topic}/{lane.partition}",
            text=f"The group's offset was {lane.emitted}, and has moved meanwhile: run it again.",
        )
        for lane in await moved_lanes(both, lanes)
    ]


def _recovered(lane: LaneWithLostCommits) -> RecoveredLane:
    return RecoveredLane(
        topic=lane.topic,
        partition=lane.partition,
        applied=lane.applied,
        emitted=lane.emitted,
        published_end=lane.published_end,
        target=lane.target,
        commands=sum(lane.outcomes.values()),
        outcomes=dict(lane.outcomes),
        dead_letters=lane.dead_letters,
        charges=lane.charges,
        keys_bound=lane.keys_bound,
        refusals=dict(lane.refusals.counts),
    )
