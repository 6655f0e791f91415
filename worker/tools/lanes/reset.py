"""`passport-worker lanes reset`: restarts halted lanes whose offset was set by hand, or whose commands expired."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.store.port import FencingToken, LaneName, LostLane
from worker.stream.cluster.leaders import by_topic
from worker.stream.lane_positions import LanePositions
from worker.stream.positions import NEW_NAME, other_topic
from worker.stream.published import before
from worker.tools.common.connected import Connected, connected
from worker.tools.common.group_view import has_members
from worker.tools.common.journal import Author, operation
from worker.tools.common.lanes import (
    lane_views,
    offsets_elsewhere,
    positions_of_lanes,
    published_without_offset,
    with_logs_beyond,
)
from worker.tools.common.open_transactions import open_transactions
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.selection import chosen_partitions
from worker.tools.common.servers import Servers
from worker.tools.lanes.lost_lanes import LOOK_SECONDS, LOOKS, offsets_once_stable, published_end
from worker.tools.lanes.report import ResetLane, ResetReport
from worker.tools.lanes.taking_lanes import (
    Fenced,
    OffsetMover,
    list_producer,
    make_lanes,
    move_applied,
    offset_mover,
    take_over,
)

EXPIRED = "commands-expired"


@dataclass(frozen=True, slots=True)
class Target:
    """The positions from which a lane can run, and the code of the obstacle to moving it there."""

    applied: int
    emitted: int
    obstacle: str | None = None


def target_of(lane: LanePositions, published: int) -> Target:
    """The positions from which a lane can run without losing or repeating a result; else its present ones.

    `published` is one past the newest command that has a visible result. E goes to where results end, as far as the
    ledger has them. A moves only past commands that have expired.
    """
    position, log, emitted = lane.position, lane.log, lane.emitted
    # First, as in `reason_to_halt`: E of another topic does not prove lost commits.
    if other_topic(position.topic, log.topic) is not None:
        return Target(position.applied, emitted, "other-topic")
    if lane.lost_commits is not None or published > position.applied:
        return Target(position.applied, emitted, "commits-lost")
    if log.end < position.applied:
        return Target(position.applied, emitted, "log-shorter")
    if not position.ledger_from <= emitted <= position.applied:
        # Below `published`, visible results would come twice. Above A, the lane would halt again.
        emitted = min(position.applied, max(position.emitted, position.ledger_from, published))
    has_expired = log.first > position.applied
    return Target(max(position.applied, log.first), emitted, EXPIRED if has_expired else None)


def why_not(obstacle: str, lane: LanePositions, published: int) -> str:
    """Describe an obstacle to moving a lane, and what to do about it."""
    applied, log = lane.position.applied, lane.log
    if obstacle == EXPIRED:
        return (
            f"They have expired unread. Publish commands {applied} to {log.first - 1} again from their source, then "
            f"skip them with --allow {EXPIRED}."
        )
    if obstacle == "commits-lost":
        lost = lane.lost_commits or f"results up to command {published - 1} are published, and A is {applied}"
        return f"Postgres lost commits: {lost}. Use `passport-worker lanes recover`."
    if obstacle == "log-shorter":
        return f"The log ends at {log.end}, and A is {applied}. {NEW_NAME}"
    return lane.reason_to_halt(published - 1) or ""


async def reset(  # noqa: PLR0913 - options of a command
    servers: Servers,
    partitions: Sequence[int],
    progress: Progress,
    *,
    allow: frozenset[str],
    author: Author | None,
    channel: str = "",
) -> ResetReport:
    """Look at these lanes of a channel, or all; move them if there is an `author` and nothing prevents it.

    Running it again continues. The settings of `servers` serve the channel, and others whose lost commits would halt
    it. Raises `SERVER_ERRORS`, `CannotWrite` and `BadSelection`.
    """
    async with connected(servers.of(servers.settings.of_channel(channel))) as both:
        resetting = _Resetting(servers, both, allow)
        report = await resetting.look(partitions, progress)
        if author is None or not report.ok:
            return report
        connection = both.database.connection
        arguments = {"topic": both.settings.topic_commands, "partitions": [*partitions]}
        async with operation(connection, "lanes reset", author, arguments) as begun:
            async with offset_mover(both.settings) as mover:
                report = await resetting.reset(report, mover, progress)
            begun.progress |= {"lanes": [lane.model_dump(mode="json") for lane in report.lanes], "ok": report.ok}
            return report.model_copy(update={"operation": str(begun.id)})


class _Resetting:
    def __init__(self, servers: Servers, both: Connected, allow: frozenset[str]) -> None:
        """`servers` know all channels, and `both` the channel whose lanes are reset."""
        self._servers, self._both, self._settings, self._allow = servers, both, both.settings, allow
        self._topic = both.settings.topic_commands
        # The group's offsets as of the last look.
        self._seen: dict[int, int | None] = {}

    async def look(self, partitions: Sequence[int], progress: Progress) -> ResetReport:
        """Say what would be moved, and what prevents it."""
        both, settings, topic = self._both, self._settings, self._topic
        views = await lane_views(self._servers)
        view = by_topic(views)[topic]
        self._seen = {at: seen.committed and seen.committed.offset for at, seen in view.items()}
        unserved = await offsets_elsewhere(self._servers)
        # Results before A, as in `lanes`: a turn in between would look like lost commits.
        without_offset = await published_without_offset(self._servers, views)
        rows = await both.database.lanes_of_group(settings.group_id)
        current = await with_logs_beyond(both.cluster, views, rows)
        of_channels = by_topic(positions_of_lanes(current, rows, without_offset, unserved))
        positions = of_channels[topic]
        chosen = {at: positions[at] for at in chosen_partitions(partitions, view)}
        halted = {at: lane for at, lane in chosen.items() if lane.reason_to_halt() is not None}
        progress.begin("looking at halted lanes", len(halted))
        # Results may be missing from the noted E on. If the log has dropped that command, its age is unknown.
        noted = {at: lane.position.emitted for at, lane in halted.items() if lane.position.emitted >= lane.log.first}
        ages = await both.reader.appended_at(topic, noted)
        problems, lanes = list[Problem](), list[ResetLane]()
        for at, lane in chosen.items():
            target = Target(lane.position.applied, lane.emitted)
            if at in halted:
                published = await published_end(both, at, before(self._settings, ages.get(at, 0)))
                progress.advance(1)
                target = target_of(lane, published)
                if target.obstacle is not None and target.obstacle not in self._allow:
                    text = why_not(target.obstacle, lane, published)
                    problems.append(Problem(code=target.obstacle, place=f"{topic}/{at}", text=text))
            lanes.append(
                ResetLane(
                    topic=topic,
                    partition=at,
                    applied=lane.position.applied,
                    emitted=lane.emitted,
                    applied_after=target.applied,
                    emitted_after=target.emitted,
                )
            )
        if halted and await has_members(both.cluster, settings.group_id):
            text = f"The group {settings.group_id} has members: stop all workers first."
            problems.append(Problem(code="group-active", text=text))
        channels = self._servers.settings.channel_of_topic
        elsewhere = [
            channels[other]
            for other, others in of_channels.items()
            if other != topic and any(lane.reason_to_halt() is not None for lane in others.values())
        ]
        return ResetReport(
            problems=tuple(problems),
            executed=False,
            operation=None,
            lanes=tuple(lanes),
            halted_elsewhere=tuple(elsewhere),
        )

    async def reset(self, seen: ResetReport, mover: OffsetMover, progress: Progress) -> ResetReport:
        """Take the lanes that were seen, look at them again, and move them.

        Once the mover is listed in their rows, a worker, another reset or a recovery that opens the lanes fences it
        first. So what this look sees still holds when the offsets move, however long this process sleeps.
        """
        partitions, connection = [lane.partition for lane in seen.lanes], self._both.database.connection
        # A lane that never ran needs a row in which the mover can be listed.
        await make_lanes(connection, [LaneName(self._settings.group_id, self._topic, at) for at in partitions])
        registered = await take_over(self._both, partitions)
        try:
            tokens = await list_producer(connection, [registered[at].token for at in partitions], mover.id)
        except LostLane:
            return self._taken(seen)
        # Before the look, which counts visible results alone.
        hidden = await self._hidden_results()
        report = await self.look(partitions, progress)
        if hidden:
            report = report.model_copy(update={"problems": (*report.problems, *hidden)})
        return await self.move(report, tokens, mover) if report.ok else report

    async def _hidden_results(self) -> list[Problem]:
        """Transactions that hide results: if E moved to below these results, they would be published twice."""
        for _ in range(LOOKS):  # markers of transactions that were just fenced may be on their way
            hanging = await open_transactions(self._both.cluster, self._settings.answer_topics)
            if not hanging:
                break
            await asyncio.sleep(LOOK_SECONDS)
        text = "A transaction is open there, and hides the results after it: see topics.transactions of `doctor`."
        return [Problem(code="open-transaction", place=f"{log.topic}/{log.partition}", text=text) for log in hanging]

    async def move(self, report: ResetReport, tokens: Mapping[int, FencingToken], mover: OffsetMover) -> ResetReport:
        """Move the lanes, unless somebody has taken them or moved their offsets since they were looked at.

        Kafka compares no offset while it commits one, so an offset that somebody sets in this moment is overwritten.
        """
        offsets = {lane.partition: lane.emitted_after for lane in report.lanes if lane.emitted_after != lane.emitted}
        has_moved = False
        try:
            for lane in report.lanes:
                if lane.applied_after > lane.applied:
                    token = tokens[lane.partition]
                    await move_applied(self._both.database.connection, token, lane.applied, lane.applied_after)
                    has_moved = True
            if offsets:
                # Kafka compares nothing, so the verb does. A fenced transaction may still move an offset. Without the
                # wait, the lane would look as if others had moved it.
                if await offsets_once_stable(self._both, offsets) != {at: self._seen[at] for at in offsets}:
                    return self._taken(report, executed=has_moved)
                await mover.move(offsets)
        except (Fenced, LostLane):
            return self._taken(report, executed=has_moved)
        return report.model_copy(update={"executed": True})

    def _taken(self, report: ResetReport, *, executed: bool = False) -> ResetReport:
        text = "Others have taken these lanes meanwhile, or moved their offsets. Stop all workers, and run it again."
        problem = Problem(code="offset-moved", place=self._topic, text=text)
        return report.model_copy(update={"problems": (problem,), "executed": executed})
