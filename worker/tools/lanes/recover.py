"""`passport-worker lanes recover`: after Postgres lost commits, make it hold exactly what was published.

Results are the truth: each was published together with the offset behind it, after its commit. A command whose result
is visible was decided so; all that follows from it is in the command and in the result. What was never published is
decided later, as if it had not been decided before.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from worker.store.port import Registered
from worker.stream.log_reader import LogReader
from worker.tools.common.history import Topics, topics_of
from worker.tools.common.inspection import Inspection, inspection
from worker.tools.common.journal import operation
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.servers import Servers
from worker.tools.lanes.lost import Lost
from worker.tools.lanes.recovery_plan import LanePlan, planned
from worker.tools.lanes.recovery_survey import Survey
from worker.tools.lanes.recovery_write import Writer, take_over
from worker.tools.lanes.report import RecoveredLane, RecoverReport
from worker.tools.lanes.restoring import Plan


@dataclass(frozen=True, slots=True)
class Request:
    """What to recover: these partitions, or all. `search_from` is from when on results are read, None: as needed."""

    partitions: tuple[int, ...]
    search_from: datetime | None
    allow: frozenset[str]
    execute: bool
    reason: str


async def recover(servers: Servers, request: Request, progress: Progress) -> RecoverReport:
    """Plan all, and write it where `request.execute` says so and nothing refuses it.

    Raises `CLUSTER_ERRORS`, `CannotConnect`, `DATABASE_ERRORS` and `BadSelection`; started again, it goes on.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(inspection(servers.settings.database_url))
        topics = await topics_of(servers.settings, servers.cluster)
        one = _Recovery(servers, database, LogReader(servers.cluster), topics, progress)
        if not request.execute:
            return await one.plan(request)
        arguments = {"partitions": request.partitions, "allow": sorted(request.allow)}
        kept = await stack.enter_async_context(operation(database, "lanes recover", request.reason, arguments))
        registered = await take_over(database, servers.cluster, servers.settings, request.partitions)
        report = await one.plan(request)
        if report.ok:
            report = await one.write(report, registered)
        kept.progress |= {"lanes": {lane.partition: lane.target for lane in report.lanes}, "ok": report.ok}
        return report.model_copy(update={"operation": str(kept.id), "executed": report.ok})


class _Recovery:
    """Both servers, and what was found on the way."""

    def __init__(
        self, servers: Servers, database: Inspection, reader: LogReader, topics: Topics, progress: Progress
    ) -> None:
        self._servers, self._database, self._reader = servers, database, reader
        self._topics, self._progress = topics, progress
        self._settings = servers.settings
        self._lost: Sequence[Lost] = ()

    async def plan(self, request: Request) -> RecoverReport:
        """Everything that is to be restored, and why it cannot be; nothing is written."""
        survey = Survey(self._servers, self._database, self._reader, request.search_from)
        self._lost = await survey.lost_lanes(self._topics, request.partitions)
        lost = [one for one in self._lost if one.to_restore]
        plan = Plan(self._database.connection)
        await plan.begin()
        self._progress.begin("planning", sum(one.to_restore for one in lost))
        unseen = [one for one in lost if one.refusals.counts]
        for one in lost:
            if one not in unseen:
                async with planned(self._reader, self._topics, one, self._settings.group_id) as lane:
                    await self._plan_lane(lane, one, plan)
        by_partition = {one.partition: one for one in lost}
        for code, partition, offset, detail, total in await plan.refused():
            if code == "original-missing" and unseen:
                continue  # it may be among what was not looked at
            by_partition[partition].refuse(code, self._settings.topic_commands, offset, detail, total)
        warnings = [
            f"company {company} has {slots} passports, and its plan {most}"
            for company, slots, most in await plan.above_their_plan()
        ]
        return _report(self._settings.topic_commands, self._lost, request.allow, warnings)

    async def _plan_lane(self, lane: LanePlan, one: Lost, plan: Plan) -> None:
        at = one.applied
        async for stop, chunk in lane.chunks():
            await plan.add(one.partition, [(each.answer, each.created) for each in chunk])
            for each in chunk:
                one.count(each)
            self._progress.advance(stop - at)
            at = stop
        one.refusals.update(lane.refusals)

    async def write(self, report: RecoverReport, registered: dict[int, Registered]) -> RecoverReport:
        """Lane by lane, in transactions of some thousand records; what was written stays, whatever comes."""
        lost = [one for one in self._lost if one.to_restore]
        self._progress.begin("writing", sum(one.to_restore for one in lost))
        async with Writer(self._servers, self._database, registered) as writer:
            for one in lost:
                async with planned(self._reader, self._topics, one, self._settings.group_id) as lane:
                    await writer.write(lane, one, self._progress)
        moved = await Survey(self._servers, self._database, self._reader, None).moved(self._lost)
        return report.model_copy(
            update={
                "problems": tuple(
                    Problem(
                        code="offset-moved",
                        place=f"{self._settings.topic_commands}/{one.partition}",
                        text=f"The group's offset was {one.emitted}, and has moved meanwhile: run it again.",
                    )
                    for one in moved
                )
            }
        )


def _report(topic: str, lost: Sequence[Lost], allow: frozenset[str], warnings: Sequence[str]) -> RecoverReport:
    problems = [found for one in lost for found in one.refusals.problems() if found.code not in allow]
    return RecoverReport(
        problems=tuple(problems),
        executed=False,
        operation=None,
        warnings=tuple(warnings),
        lanes=tuple(
            RecoveredLane(
                topic=topic,
                partition=one.partition,
                applied=one.applied,
                emitted=one.emitted,
                published_end=one.published_end,
                target=one.target,
                commands=sum(one.outcomes.values()),
                outcomes=dict(one.outcomes),
                dead_letters=one.dead_letters,
                charges=one.charges,
                keys_bound=one.keys_bound,
                refusals=dict(one.refusals.counts),
            )
            for one in lost
        ),
    )
