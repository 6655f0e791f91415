"""`passport-worker lanes`: where every lane stands, by both servers, and what to do about lanes that do not move."""

import time
from collections.abc import Mapping
from dataclasses import replace

from worker.stream.cluster.connection import Cluster
from worker.stream.lane_positions import LanePositions, positions_of
from worker.stream.log_reader import LogReader
from worker.stream.positions import Log, why_commits_are_lost
from worker.stream.published import newest_results
from worker.tools.common.acls import asking_acls
from worker.tools.common.group_view import PartitionView, group_view
from worker.tools.common.inspection import LaneRow, position_in
from worker.tools.common.lane_report import UNOWNED, LaneReport, LanesReport, LaneState
from worker.tools.common.report import Problem
from worker.tools.common.servers import Servers


async def lanes(servers: Servers) -> LanesReport:
    """Everything that both servers know of every lane; if one is away, everything that the other knows."""
    settings, topic = servers.settings, servers.settings.topic_commands
    view = await servers.kafka(lambda: group_view(settings, servers.cluster), asking_acls(settings))
    rows = await servers.postgres(lambda database: database.lanes(settings.group_id, topic), ("lane",))
    seen: Mapping[int, PartitionView] = {} if isinstance(view, Problem) else view
    known: Mapping[int, LaneRow] = {} if isinstance(rows, Problem) else rows
    caught_up = await servers.kafka(lambda: with_logs_beyond(servers.cluster, topic, seen, known))
    seen = seen if isinstance(caught_up, Problem) else caught_up
    published = await published_without_offset(servers, seen)
    positions = positions_of_lanes(topic, seen, known, published)
    waiting = {at: lane.emitted for at, lane in positions.items() if lane.emitted < lane.log.end}
    ages = await servers.kafka(lambda: LogReader(servers.cluster).appended_at(topic, waiting))
    ahead = [at for at, lane in positions.items() if lane.emitted > lane.position.applied]
    newest = await newest_results(settings, servers.cluster, topic, ahead)
    reports = []
    for at in sorted({*seen, *known}):
        report = _report(topic, at, known.get(at), seen.get(at))
        if at in seen:
            oldest_ms = None if isinstance(ages, Problem) else ages.get(at)
            seconds = 0.0 if oldest_ms is None else round(max(0.0, time.time() - oldest_ms / 1000), 3)
            changes: dict[str, object] = {"lag_seconds": seconds}
            if at in published:
                changes["emitted"] = positions[at].emitted
            if not isinstance(rows, Problem):
                changes["state"], changes["advice"] = _state(report, positions[at], newest.get(at))
            report = report.model_copy(update=changes)
        reports.append(report)
    problems = [problem for problem in (view, rows) if isinstance(problem, Problem)]
    problems += [
        Problem(code=f"lane-{lane.state}", place=f"{topic}/{lane.partition}", text=lane.advice)
        for lane in reports
        if lane.advice is not None
    ]
    return LanesReport(problems=tuple(problems), group=settings.group_id, lanes=tuple(reports))


async def with_logs_beyond(
    cluster: Cluster, topic: str, seen: Mapping[int, PartitionView], known: Mapping[int, LaneRow]
) -> Mapping[int, PartitionView]:
    """The same partitions; where A is beyond the end of the log that was seen, with the log as it is now.

    E and the logs are read before A, and a running lane moves on meanwhile. Raises `CLUSTER_ERRORS`.
    """
    moved = [at for at, view in seen.items() if position_in(known.get(at)).applied > view.log.end]
    bounds = await LogReader(cluster).bounds(topic, moved) if moved else {}
    logs = {at: Log(seen[at].log.topic, *bound) for at, bound in bounds.items()}
    return {at: replace(view, log=logs.get(at, view.log)) for at, view in seen.items()}


async def published_without_offset(servers: Servers, seen: Mapping[int, PartitionView]) -> dict[int, int]:
    """The offset behind the newest command with a result, of partitions with commands but no committed offset.

    Only the newest results are read: enough to see that a lane ran, and that commits are lost.
    """
    without = [at for at, view in seen.items() if view.committed is None and view.log.first < view.log.end]
    newest = await newest_results(servers.settings, servers.cluster, servers.settings.topic_commands, without)
    return {at: offset + 1 for at, offset in newest.items() if offset is not None}


def positions_of_lanes(
    topic: str, seen: Mapping[int, PartitionView], known: Mapping[int, LaneRow], published: Mapping[int, int]
) -> dict[int, LanePositions]:
    """The positions of every lane of a topic that Kafka has. Commits that one lane has lost concern all lanes.

    `published` has the partitions for which the group has no offset.
    """
    positions = {at: row.position for at, row in known.items()}
    reason = why_commits_are_lost(
        {(topic, at): view.committed for at, view in seen.items()},
        {(topic, at): None if position is None else position.applied for at, position in positions.items()},
        {(topic, at): end for at, end in published.items()},
    )
    return {
        at: positions_of(positions.get(at), view.committed, view.log, reason, published=published.get(at))
        for at, view in seen.items()
    }


def _report(topic: str, partition: int, row: LaneRow | None, view: PartitionView | None) -> LaneReport:
    """A lane without its state; None stands for what only an absent server knows."""
    position = None if row is None else row.position
    emitted = None if view is None or view.committed is None else view.committed.offset
    if emitted is None and position is not None:
        emitted = position.emitted
    return LaneReport(
        topic=topic,
        partition=partition,
        applied=position and position.applied,
        emitted=emitted,
        ledger_from=position and position.ledger_from,
        log_start=view and view.log.first,
        log_end=view and view.log.end,
        lag_records=None if view is None else view.log.end - (view.log.first if emitted is None else emitted),
        lag_seconds=None,
        generation=row and row.generation,
        member=view and view.member and view.member.id,
        host=view and view.member and view.member.host,
        state="unknown",
        advice=None,
    )


def _state(lane: LaneReport, positions: LanePositions, newest_result: int | None) -> tuple[LaneState, str | None]:
    """The state of a lane, and advice if somebody has to act."""
    if (reason := positions.reason_to_halt(newest_result)) is not None:
        return "halted", reason
    has_lag = positions.emitted < positions.log.end
    if lane.member is None:
        return ("never-run" if positions.is_new else "unowned"), (UNOWNED if has_lag else None)
    if positions.is_new:
        return "never-run", None
    return ("behind" if has_lag else "in-step"), None
