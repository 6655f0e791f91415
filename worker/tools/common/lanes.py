"""`passport-worker lanes`: where every lane stands, by both servers, and what to do about those that do not move."""

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
from worker.tools.common.lane_report import LaneReport, LanesReport, LaneState
from worker.tools.common.report import Problem
from worker.tools.common.servers import Servers

_UNOWNED = "Commands wait in it, and nobody has it: start a worker (`passport-worker run`)."


async def lanes(servers: Servers) -> LanesReport:
    """What both servers know of every lane; what one of them knows while the other is away."""
    settings, topic = servers.settings, servers.settings.topic_commands
    view = await servers.kafka(lambda: group_view(settings, servers.cluster), asking_acls(settings))
    rows = await servers.postgres(lambda database: database.lanes(settings.group_id, topic), ("lane",))
    problems = [one for one in (view, rows) if isinstance(one, Problem)]
    seen: Mapping[int, PartitionView] = {} if isinstance(view, Problem) else view
    known: Mapping[int, LaneRow] = {} if isinstance(rows, Problem) else rows
    later = await servers.kafka(lambda: seen_beside(servers.cluster, topic, seen, known))
    seen = seen if isinstance(later, Problem) else later
    published = await published_without_offset(servers, seen)
    stands = standings(seen, known, published)
    waiting = {at: one.emitted for at, one in stands.items() if one.emitted < one.log.end}
    ages = await servers.kafka(lambda: LogReader(servers.cluster).appended_at(topic, waiting))
    ahead = [at for at, one in stands.items() if one.emitted > one.position.applied]
    newest = await newest_results(settings, servers.cluster, topic, ahead)
    found = []
    for at in sorted({*seen, *known}):
        one = lane_report(topic, at, known.get(at), seen.get(at))
        if at in published:
            one = one.model_copy(update={"emitted": stands[at].emitted})
        if at in seen and not isinstance(rows, Problem):
            one = judged(one, stands[at], newest.get(at))
        oldest_ms = None if isinstance(ages, Problem) else ages.get(at)
        if at in seen:
            seconds = 0.0 if oldest_ms is None else round(max(0.0, time.time() - oldest_ms / 1000), 3)
            one = one.model_copy(update={"lag_seconds": seconds})
        found.append(one)
    problems += [
        Problem(code=f"lane-{one.state}", place=f"{topic}/{one.partition}", text=one.advice)
        for one in found
        if one.advice is not None
    ]
    return LanesReport(problems=tuple(problems), group=settings.group_id, lanes=tuple(found))


async def seen_beside(
    cluster: Cluster, topic: str, seen: Mapping[int, PartitionView], known: Mapping[int, LaneRow]
) -> Mapping[int, PartitionView]:
    """The same, with logs as they are now where A has gone beyond the end that was seen: E is asked for before A.

    Raises `CLUSTER_ERRORS`.
    """
    moved = [at for at, one in seen.items() if position_in(known.get(at)).applied > one.log.end]
    bounds = await LogReader(cluster).bounds(topic, moved) if moved else {}
    logs = {at: Log(seen[at].log.topic, *found) for at, found in bounds.items()}
    return {at: replace(one, log=logs.get(at, one.log)) for at, one in seen.items()}


async def published_without_offset(servers: Servers, seen: Mapping[int, PartitionView]) -> dict[int, int]:
    """One past the newest command that has a result, of partitions that have commands but no committed offset.

    By the newest results alone: enough to see that a lane ran, and that commits are lost.
    """
    without = [at for at, one in seen.items() if one.committed is None and one.log.first < one.log.end]
    newest = await newest_results(servers.settings, servers.cluster, servers.settings.topic_commands, without)
    return {at: offset + 1 for at, offset in newest.items() if offset is not None}


def standings(
    seen: Mapping[int, PartitionView], known: Mapping[int, LaneRow], published: Mapping[int, int]
) -> dict[int, LanePositions]:
    """Where every lane that Kafka has stands, by what both servers say; commits that one has lost concern all.

    `published` is of partitions for which the group has no offset.
    """
    positions = {at: one.position for at, one in known.items()}
    applied = {at: None if one is None else one.applied for at, one in positions.items()}
    reason = why_commits_are_lost({at: one.committed for at, one in seen.items()}, applied, published)
    return {
        at: positions_of(positions.get(at), one.committed, one.log, reason, published=published.get(at))
        for at, one in seen.items()
    }


def lane_report(topic: str, partition: int, row: LaneRow | None, view: PartitionView | None) -> LaneReport:
    """What is known of a lane, without a judgement; each server's part is left out where it says nothing."""
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


def judged(lane: LaneReport, standing: LanePositions, newest_result: int | None) -> LaneReport:
    """The same with its state; advice where somebody has to do something."""
    state, advice = _judgement(lane, standing, newest_result)
    return lane.model_copy(update={"state": state, "advice": advice})


def _judgement(lane: LaneReport, standing: LanePositions, newest_result: int | None) -> tuple[LaneState, str | None]:
    if (reason := standing.reason_to_halt(newest_result)) is not None:
        return "halted", reason
    has_lag = standing.emitted < standing.log.end
    if lane.member is None:
        return ("never-run" if standing.is_new else "unowned"), (_UNOWNED if has_lag else None)
    if standing.is_new:
        return "never-run", None
    return ("behind" if has_lag else "in-step"), None
