"""`passport-worker lanes reset`: halted lanes whose positions were moved by hand, or outlived by a log, may go on."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from worker.store.port import FencingToken, LaneName, LostLane
from worker.stream.lane_positions import LanePositions
from worker.stream.log_reader import LogReader
from worker.stream.positions import NEW_NAME
from worker.stream.published import before
from worker.tools.common.group_members import has_members
from worker.tools.common.group_view import group_view, stable_offsets
from worker.tools.common.history import Topics, topics_of
from worker.tools.common.inspection import Inspection, inspection
from worker.tools.common.journal import operation
from worker.tools.common.lanes import published_without_offset, seen_beside, standings
from worker.tools.common.open_transactions import open_transactions
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.selection import chosen_partitions
from worker.tools.common.servers import Servers
from worker.tools.lanes.group_offsets import Fenced, OffsetMover
from worker.tools.lanes.recovery_survey import LOOK_SECONDS, LOOKS, published_end
from worker.tools.lanes.recovery_write import take_over
from worker.tools.lanes.report import ResetLane, ResetReport
from worker.tools.lanes.restoring import list_producer, make_lanes, move_applied

EXPIRED = "commands-expired"


@dataclass(frozen=True, slots=True)
class Reset:
    """Where a lane is to stand, and the code of what is in the way of moving it there."""

    applied: int
    emitted: int
    obstacle: str | None = None


def reset_of(standing: LanePositions, published: int) -> Reset:
    """Where a lane can go on without losing or repeating a result; where it stands, if no position does that.

    `published` is one past the newest command that has a visible result. E goes to where results end, as far as the
    ledger has them; A goes nowhere but behind commands that have expired.
    """
    position, log, emitted = standing.position, standing.log, standing.emitted
    if position.topic is not None and log.topic is not None and position.topic != log.topic:
        return Reset(position.applied, emitted, "other-topic")
    if standing.lost_commits is not None or published > position.applied:
        return Reset(position.applied, emitted, "commits-lost")
    if log.end < position.applied:
        return Reset(position.applied, emitted, "log-shorter")
    if not position.ledger_from <= emitted <= position.applied:
        emitted = min(position.applied, max(position.emitted, position.ledger_from, published))
    has_expired = log.first > position.applied
    return Reset(max(position.applied, log.first), emitted, EXPIRED if has_expired else None)


async def reset(
    servers: Servers, partitions: Sequence[int], progress: Progress, *, allow: frozenset[str], reason: str | None
) -> ResetReport:
    """Look at these lanes, or all; where there is a `reason`, move them. Started again, it goes on.

    Raises `CLUSTER_ERRORS`, `CannotConnect`, `DATABASE_ERRORS`, `CannotWrite` and `BadSelection`.
    """
    reader = LogReader(servers.cluster)
    async with inspection(servers.settings.database_url) as database:
        one = _Resetting(servers, database, reader, await topics_of(servers.settings, servers.cluster), allow)
        report = await one.look(partitions, progress)
        if reason is None or not report.ok:
            return report
        async with operation(database, "lanes reset", reason, {"partitions": [*partitions]}) as kept:
            async with OffsetMover(servers.settings) as mover:
                report = await one.reset(report, mover, progress)
            kept.progress |= {"lanes": [each.model_dump(mode="json") for each in report.lanes], "ok": report.ok}
            return report.model_copy(update={"operation": str(kept.id), "executed": report.ok})


class _Resetting:
    def __init__(
        self, servers: Servers, database: Inspection, reader: LogReader, topics: Topics, allow: frozenset[str]
    ) -> None:
        self._servers, self._database, self._reader, self._topics = servers, database, reader, topics
        self._settings, self._topic, self._allow = servers.settings, servers.settings.topic_commands, allow
        self._seen: dict[int, int | None] = {}
        """Offsets of the group, as they were looked at last."""

    async def look(self, partitions: Sequence[int], progress: Progress) -> ResetReport:
        """What would be moved, and what is in the way."""
        stands = await self._standings(partitions)
        halted = {at: one for at, one in stands.items() if one.reason_to_halt() is not None}
        progress.begin("looking at halted lanes", len(halted))
        ages = await self._ages(halted)
        problems, lanes = list[Problem](), list[ResetLane]()
        for at, one in stands.items():
            target = Reset(one.position.applied, one.emitted)
            if at in halted:
                since = before(ages.get(at, 0))
                published = await published_end(self._reader, self._topics, at, one.position.applied, since)
                progress.advance(1)
                target = reset_of(one, published)
                if target.obstacle is not None and target.obstacle not in self._allow:
                    text = why(target.obstacle, one, published)
                    problems.append(Problem(code=target.obstacle, place=f"{self._topic}/{at}", text=text))
            lanes.append(_lane(self._topic, at, one, target))
        if halted and await has_members(self._servers.cluster, self._settings.group_id):
            problems.append(_group_active(self._settings.group_id))
        return ResetReport(problems=tuple(problems), executed=False, operation=None, lanes=tuple(lanes))

    async def _ages(self, halted: Mapping[int, LanePositions]) -> Mapping[int, int]:
        """When the first command was appended whose result may still be missing; not where nobody can tell."""
        if self._settings.allow_producer_time:
            return {}
        noted = {at: one.position.emitted for at, one in halted.items() if one.position.emitted >= one.log.first}
        return await LogReader(self._servers.cluster).appended_at(self._topic, noted)

    async def hanging(self) -> list[Problem]:
        """Results behind a transaction that is open cannot be seen, and would come twice."""
        for _ in range(LOOKS):  # markers of what was fenced just now may be on their way
            found = await open_transactions(self._servers.cluster, self._settings.answer_topics)
            if not found:
                break
            await asyncio.sleep(LOOK_SECONDS)
        text = "A transaction is open there, and hides the results behind it: see topics.transactions of `doctor`."
        return [Problem(code="open-transaction", place=f"{one.topic}/{one.partition}", text=text) for one in found]

    async def _standings(self, partitions: Sequence[int]) -> dict[int, LanePositions]:
        view = await group_view(self._settings, self._servers.cluster)
        self._seen = {at: one.committed and one.committed.offset for at, one in view.items()}
        rows = await self._database.lanes(self._settings.group_id, self._topic)
        published = await published_without_offset(self._servers, view)
        stands = standings(await seen_beside(self._servers.cluster, self._topic, view, rows), rows, published)
        return {at: stands[at] for at in chosen_partitions(partitions, view)}

    async def reset(self, seen: ResetReport, mover: OffsetMover, progress: Progress) -> ResetReport:
        """Take the lanes that were seen, look at them again, and move them.

        From the time that the mover stands in their rows, whoever opens them fences it first: a worker, another reset,
        a recovery. So what was looked at after that still holds when it is written, however long this process sleeps.
        """
        partitions, connection = [lane.partition for lane in seen.lanes], self._database.connection
        names = [LaneName(self._settings.group_id, self._topic, one) for one in partitions]
        await make_lanes(connection, names)  # one that never ran must have a row to be listed in
        registered = await take_over(self._database, self._servers.cluster, self._settings, partitions)
        try:
            tokens = await list_producer(connection, [registered[one].token for one in partitions], mover.id)
        except LostLane:
            return self._taken(seen)
        hanging = await self.hanging()
        report = await self.look(partitions, progress)
        if hanging:
            report = report.model_copy(update={"problems": (*report.problems, *hanging)})
        return await self.move(report, tokens, mover) if report.ok else report

    async def move(self, report: ResetReport, tokens: Mapping[int, FencingToken], mover: OffsetMover) -> ResetReport:
        """Unless somebody has taken the lanes or moved their offsets since they were looked at.

        Kafka compares no offset while it commits one: that somebody sets it by hand in this very moment is not seen.
        """
        offsets = {lane.partition: lane.emitted_after for lane in report.lanes if lane.emitted_after != lane.emitted}
        try:
            for lane in report.lanes:
                if lane.applied_after > lane.applied:
                    token = tokens[lane.partition]
                    await move_applied(self._database.connection, token, lane.applied, lane.applied_after)
            if offsets:
                if await self._committed(offsets) != {one: self._seen[one] for one in offsets}:
                    return self._taken(report)
                await mover.move(offsets)
        except (Fenced, LostLane):
            return self._taken(report)
        return report

    async def _committed(self, partitions: Collection[int]) -> dict[int, int | None]:
        """Offsets of the group, without those that a transaction may still move; what was fenced just now ends soon."""
        for _ in range(LOOKS):
            found = await stable_offsets(self._settings, self._servers.cluster, partitions)
            if len(found) == len(partitions):
                break
            await asyncio.sleep(LOOK_SECONDS)
        return found

    def _taken(self, report: ResetReport) -> ResetReport:
        text = "Others have taken these lanes meanwhile, or moved their offsets. Stop all workers, and run it again."
        return report.model_copy(update={"problems": (Problem(code="offset-moved", place=self._topic, text=text),)})


def why(code: str, standing: LanePositions, published: int) -> str:
    """What is in the way, and what to do."""
    applied, log = standing.position.applied, standing.log
    if code == EXPIRED:
        return (
            f"They have expired unread. Publish commands {applied} to {log.first - 1} again from their source, then "
            f"pass over them with --allow {EXPIRED}."
        )
    if code == "commits-lost":
        told = standing.lost_commits or f"results up to command {published - 1} are published, and A is {applied}"
        return f"Postgres lost commits: {told}. `passport-worker lanes recover` is for that."
    if code == "log-shorter":
        return f"The log ends at {log.end}, and A is {applied}. {NEW_NAME}"
    return standing.reason_to_halt(published - 1) or ""


def _group_active(group_id: str) -> Problem:
    return Problem(code="group-active", text=f"The group {group_id} has members: stop all workers first.")


def _lane(topic: str, partition: int, found: LanePositions, target: Reset) -> ResetLane:
    return ResetLane(
        topic=topic,
        partition=partition,
        applied=found.position.applied,
        emitted=found.emitted,
        applied_after=target.applied,
        emitted_after=target.emitted,
    )
