"""`passport-worker lanes`: the positions of every lane on both servers, and what to do about lanes that do not move."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from aiokafka.structs import TopicPartition

from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.leaders import by_topic
from worker.stream.cluster.offset_fetch_v7 import Committed
from worker.stream.lane_positions import LanePositions, positions_of
from worker.stream.log_reader import LogReader
from worker.stream.positions import Log, why_commits_are_lost
from worker.stream.published import newest_results
from worker.tools.common.acls import asking_acls
from worker.tools.common.channels import channel_of
from worker.tools.common.group_view import PartitionView, group_view
from worker.tools.common.inspection import LaneRow, position_in
from worker.tools.common.lane_report import UNOWNED, LaneReport, LanesReport, LaneState
from worker.tools.common.report import Problem
from worker.tools.common.servers import Servers

Views = Mapping[TopicPartition, PartitionView]
Rows = Mapping[TopicPartition, LaneRow]


async def lanes(servers: Servers, channel: str | None = None) -> LanesReport:
    """Everything that both servers know about every lane; if one is away, everything that the other knows.

    With a channel, the report has its lanes alone. They halt even if another channel's lane has lost commits.
    """
    settings = servers.settings
    # Lanes of channels that nobody serves come last.
    order = {topic: number for number, topic in enumerate(settings.by_commands)}
    # E, by offsets and by results, is read before A. The other way around, a turn in between would look like lost
    # commits.
    seen, problems = await _views(servers)
    elsewhere = await servers.kafka(lambda: offsets_elsewhere(servers))
    published = await published_without_offset(servers, seen)
    rows = await servers.postgres(lambda database: database.lanes_of_group(settings.group_id), ("lane",))
    known: Rows = {} if isinstance(rows, Problem) else rows
    caught_up = await servers.kafka(lambda: with_logs_beyond(servers.cluster, seen, known))
    seen = seen if isinstance(caught_up, Problem) else caught_up
    positions = positions_of_lanes(seen, known, published, {} if isinstance(elsewhere, Problem) else elsewhere)
    ages = await _ages(servers, positions)
    ahead = {at: lane.log.end for at, lane in positions.items() if lane.emitted > lane.position.applied}
    newest = await newest_results(servers.settings, servers.cluster, ahead)
    reports = []
    for at in sorted({*seen, *known}, key=lambda lane: (order.get(lane.topic, len(order)), lane)):
        report = _report(channel_of(settings, at.topic), at, known.get(at), seen.get(at))
        if channel is not None and report.channel != channel:
            continue
        if at in seen:
            changes: dict[str, object] = {"lag_seconds": _seconds_since(ages.get(at))}
            if at in published:
                emitted = positions[at].emitted
                changes |= {"emitted": emitted, "lag_records": max(0, positions[at].log.end - emitted)}
            if not isinstance(rows, Problem):
                changes["state"], changes["advice"] = _state(report, positions[at], newest.get(at))
            report = report.model_copy(update=changes)
        elif at.topic not in order:
            report = report.model_copy(update={"state": "not-served"})
        reports.append(report)
    problems += [age for age in dict.fromkeys(ages.values()) if isinstance(age, Problem) and age not in problems]
    problems += [rows] if isinstance(rows, Problem) else []
    problems += [
        Problem(code=f"lane-{lane.state}", place=f"{lane.topic}/{lane.partition}", text=lane.advice)
        for lane in reports
        if lane.advice is not None
    ]
    return LanesReport(problems=tuple(problems), group=settings.group_id, lanes=tuple(reports))


async def _views(servers: Servers) -> tuple[Views, list[Problem]]:
    """The partitions of all channels. Channels that cannot be seen share a problem if its text is the same."""
    channels = servers.settings.by_commands
    questions = [
        servers.kafka(partial(group_view, channel, servers.cluster), asking_acls(channel))
        for channel in channels.values()
    ]
    views, problems = dict[TopicPartition, PartitionView](), dict[str, Problem]()
    for topic, view in zip(channels, await asyncio.gather(*questions), strict=True):
        if isinstance(view, Problem):
            problems[view.text] = view
        else:
            views |= {TopicPartition(topic, partition): seen for partition, seen in view.items()}
    return views, list(problems.values())


async def lane_views(servers: Servers) -> Views:
    """The partitions of all channels. Raises `CLUSTER_ERRORS`, also if a command topic does not exist."""
    channels = servers.settings.by_commands
    views = await asyncio.gather(*(group_view(channel, servers.cluster) for channel in channels.values()))
    return {
        TopicPartition(topic, partition): seen
        for topic, view in zip(channels, views, strict=True)
        for partition, seen in view.items()
    }


async def offsets_elsewhere(servers: Servers) -> dict[TopicPartition, Committed]:
    """Offsets of the group on topics that no channel of the settings has. Raises `CLUSTER_ERRORS`."""
    settings = servers.settings
    offsets = await servers.cluster.all_committed(settings.group_id)
    return {at: offset for at, offset in offsets.items() if at.topic not in settings.by_commands}


def _seconds_since(appended_ms: int | Problem | None) -> float | None:
    """The age of the waiting command; 0 if none waits, and None if its time could not be read."""
    if appended_ms is None:
        return 0.0
    return None if isinstance(appended_ms, Problem) else round(max(0.0, time.time() - appended_ms / 1000), 3)


async def _ages(
    servers: Servers, positions: Mapping[TopicPartition, LanePositions]
) -> Mapping[TopicPartition, int | Problem]:
    """When the command at E was appended, for each lane with waiting commands, or why that is unknown.

    A leader may still say where its log ends, but hang when it has to read from it.
    """
    reader, ages = LogReader(servers.cluster), dict[TopicPartition, int | Problem]()
    # If the log has dropped the command at E, the oldest one left shows how long commands have waited at least.
    waiting = by_topic(
        {at: max(lane.emitted, lane.log.first) for at, lane in positions.items() if lane.emitted < lane.log.end}
    )
    for topic, offsets in waiting.items():
        appended = await servers.kafka(partial(reader.appended_at, topic, offsets))
        known = dict.fromkeys(offsets, appended) if isinstance(appended, Problem) else appended
        ages |= {TopicPartition(topic, partition): at for partition, at in known.items()}
    return ages


async def with_logs_beyond(cluster: Cluster, seen: Views, known: Rows) -> Views:
    """The same partitions, with the log as it is now wherever A is beyond the end that was seen.

    E and the logs are read before A, and a running lane moves on meanwhile. Raises `CLUSTER_ERRORS`.
    """
    moved = {at: view.log for at, view in seen.items() if position_in(known.get(at)).applied > view.log.end}
    logs = dict[TopicPartition, Log]()
    for topic, seen_logs in by_topic(moved).items():
        bounds = await LogReader(cluster).bounds(topic, seen_logs)
        logs |= {TopicPartition(topic, at): Log(seen_logs[at].topic, *bound) for at, bound in bounds.items()}
    return {at: replace(view, log=logs.get(at, view.log)) for at, view in seen.items()}


async def published_without_offset(servers: Servers, seen: Views) -> dict[TopicPartition, int]:
    """The offset after the newest command with a result, of partitions with commands but no committed offset.

    Only the newest results are read: enough to see that a lane ran, and that commits are lost.
    """
    without = {
        at: view.log.end for at, view in seen.items() if view.committed is None and view.log.first < view.log.end
    }
    newest = await newest_results(servers.settings, servers.cluster, without)
    return {at: offset + 1 for at, offset in newest.items() if offset is not None}


def positions_of_lanes(
    seen: Views, known: Rows, published: Mapping[TopicPartition, int], elsewhere: Mapping[TopicPartition, Committed]
) -> dict[TopicPartition, LanePositions]:
    """The positions of every lane that Kafka has. Lost commits of one lane concern all lanes of all channels.

    `published` has the partitions for which the group has no offset, and `elsewhere` the offsets of topics that are
    not served now. Topics that the database does not know may be another installation's.
    """
    positions = {at: row.position for at, row in known.items()}
    topics = {at.topic for at in known}
    reason = why_commits_are_lost(
        {at: view.committed for at, view in seen.items()}
        | {at: offset for at, offset in elsewhere.items() if at.topic in topics},
        {at: None if position is None else position.applied for at, position in positions.items()},
        published,
    )
    return {
        at: positions_of(positions.get(at), view.committed, view.log, reason, published=published.get(at))
        for at, view in seen.items()
    }


def _report(channel: str | None, at: TopicPartition, row: LaneRow | None, view: PartitionView | None) -> LaneReport:
    """A lane without its state; None for whatever only an absent server knows."""
    position = None if row is None else row.position
    emitted = None if view is None or view.committed is None else view.committed.offset
    if emitted is None and position is not None:
        emitted = position.emitted
    return LaneReport(
        channel=channel,
        topic=at.topic,
        partition=at.partition,
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
