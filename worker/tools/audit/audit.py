"""`passport-worker audit`: proves on a live system that each command has exactly one result, as in the ledger."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from math import inf

from aiokafka.errors import TopicAuthorizationFailedError

from worker.messages.events import Answer
from worker.settings import Settings
from worker.store.port import Position
from worker.stream.cluster.connection import Cluster
from worker.stream.log_reader import LogReader
from worker.stream.published import before
from worker.tools.audit.lane_audit import MOST_PLACES, LaneAudit
from worker.tools.audit.report import AuditedLane, AuditReport
from worker.tools.audit.strays import Strays, note_strays_elsewhere
from worker.tools.common.findings import Findings
from worker.tools.common.group_view import group_view
from worker.tools.common.history import History, history, topics_of
from worker.tools.common.inspection import Covered, Inspection, LaneRow, emitted_of, inspection, position_in
from worker.tools.common.progress import Progress, paced
from worker.tools.common.report import Problem
from worker.tools.common.selection import Range, offsets_of
from worker.tools.common.servers import Servers

# Lanes that are read at once: while one waits for a server, another is compared.
AT_ONCE = 6


async def audit(
    servers: Servers, chosen: Range, progress: Progress, *, allow_repeats: bool, rate: float = 0.0
) -> AuditReport:
    """Audit every chosen command of all channels up to E. `rate` is the most commands per second; 0 is no limit.

    Raises `SERVER_ERRORS` and `BadSelection`.
    """
    channels, reports = servers.settings.by_commands, list[AuditReport]()
    for topic, settings in channels.items():
        others, of_channel = frozenset(channels) - {topic}, servers.of(settings)
        report = await _audit_channel(of_channel, others, chosen, progress, allow_repeats=allow_repeats, rate=rate)
        reports.append(report)
    return AuditReport(
        problems=tuple(problem for report in reports for problem in report.problems),
        lanes=tuple(lane for report in reports for lane in report.lanes),
        elsewhere=dict(sum((Counter(report.elsewhere) for report in reports), Counter[str]())),
    )


async def _audit_channel(  # noqa: PLR0913 - the arguments of `audit`
    servers: Servers, others: frozenset[str], chosen: Range, progress: Progress, *, allow_repeats: bool, rate: float
) -> AuditReport:
    """Audit the lanes of one channel. `others` are the command topics of other channels."""
    settings, topic = servers.settings, servers.settings.topic_commands
    reader = LogReader(servers.cluster)
    async with inspection(settings.database) as database:
        # Lanes move meanwhile: E is read before A and before the ends of the logs, so that nothing below E is missing.
        view = await group_view(settings, servers.cluster)
        rows = await database.lanes(settings.group_id, topic)
        ends = {at: emitted_of(rows.get(at), seen.committed) for at, seen in view.items()}
        # Commands up to E that both the log and the ledger still have.
        starts = {at: max(seen.log.first, position_in(rows.get(at)).ledger_from) for at, seen in view.items()}
        bounds = {at: (start, max(start, ends[at])) for at, start in starts.items()}
        offsets = await offsets_of(chosen, bounds, partial(reader.first_since, topic))
        topics = await topics_of(settings, servers.cluster, others)
        firsts = {at: start for at, (start, stop) in offsets.items() if start < stop}
        ages = await reader.appended_at(topic, firsts)
        progress.begin(f"auditing {settings.channel}".rstrip(), sum(stop - start for start, stop in offsets.values()))
        advance, at_once = paced(progress, rate), asyncio.Semaphore(AT_ONCE)

        async def audit_lane(at: int) -> tuple[AuditedLane, list[Problem]]:
            async with at_once, inspection(settings.database) as lane_database:
                ledger = _LaneLedger(lane_database, settings, at, rows.get(at))
                strays = Strays(topics, at, partial(ledger.decided, ends[at]), Findings(MOST_PLACES))
                logs = await history(reader, topics, at, offsets[at], before(settings, ages.get(at, 0)))
                await _judge_expiry(servers, logs)
                lane = LaneAudit(logs, ledger.read, ledger.begins, settings.group_id, strays)
                await lane.run(advance)
                if not allow_repeats:
                    # Read after the logs: a replay that began meanwhile has noted its range before its first record.
                    _note_doubled(lane, at, await lane_database.covered_repeats(topic))
                return _audited(topic, at, offsets[at], lane), lane.findings.first

        elsewhere = Findings(MOST_PLACES)
        if not chosen.partitions:
            await note_strays_elsewhere(reader, topics, elsewhere)
        tasks = [asyncio.create_task(audit_lane(at)) for at in offsets]
        try:
            audited = await asyncio.gather(*tasks)
        finally:
            # `gather` lets the other lanes continue after the first failure.
            for task in tasks:
                task.cancel()
        return AuditReport(
            problems=(*(problem for _, problems in audited for problem in problems), *elsewhere.first),
            lanes=tuple(lane for lane, _ in audited),
            elsewhere=dict(elsewhere.counts),
        )


async def _judge_expiry(servers: Servers, logs: History) -> None:
    """Correct when logs may have dropped records: an empty log does not show it, and producers' times prove nothing."""
    for log in logs.logs.values():
        if log.dropped_ms > -inf and servers.settings.allow_producer_time:
            log.dropped_ms = inf
        elif log.dropped_ms == inf:
            log.dropped_ms = await _dropped_by_retention(servers.cluster, log.place[0])


async def _dropped_by_retention(cluster: Cluster, topic: str) -> float:
    """The time, in ms, before which the retention of a topic drops records; see `NamingLog`."""
    try:
        retention_ms = int((await cluster.topic_settings(topic)).get("retention.ms") or 0)
    except TopicAuthorizationFailedError:
        return inf
    if retention_ms > 0:
        return time.time() * 1000 - retention_ms
    return -inf if retention_ms < 0 else inf


class _LaneLedger:
    """The ledger and the position of a lane, read over one connection."""

    def __init__(self, database: Inspection, settings: Settings, partition: int, row: LaneRow | None) -> None:
        self._database, self._settings, self._partition, self._row = database, settings, partition, row
        self._one_at_a_time = asyncio.Lock()  # a connection takes one query at a time

    async def read(self, start: int, stop: int) -> Sequence[Answer]:
        """Rows of the ledger; see `lane_audit.Ledger`."""
        if self._row is None:
            return []
        async with self._one_at_a_time:
            return await self._database.ledger(self._row.id, start, stop)

    async def begins(self) -> int:
        """The offset from which the ledger is complete now."""
        return (await self._position()).ledger_from

    async def decided(self, emitted: int) -> int:
        """The offset after the last command that is decided now: A, or `emitted` if Postgres lost commits."""
        return max(emitted, (await self._position()).applied)

    async def _position(self) -> Position:
        async with self._one_at_a_time:
            rows = await self._database.lanes(self._settings.group_id, self._settings.topic_commands)
        return position_in(rows.get(self._partition))


def _note_doubled(lane: LaneAudit, partition: int, covered: Sequence[Covered]) -> None:
    """Note results that came more often than once, plus once for each operation that repeated them."""
    for log in lane.logs.values():
        for offset, times in log.repeats:
            # `stop` is exclusive: a result doubled right after a replayed range is a finding.
            allowed = sum(span.partition == partition and span.start <= offset < span.stop for span in covered)
            if times > allowed:
                text = f"{1 + times} are visible, and {1 + allowed} are accounted for"
                lane.add(f"{log.prefix}doubled", offset, text)


def _audited(topic: str, partition: int, offsets: tuple[int, int], lane: LaneAudit) -> AuditedLane:
    return AuditedLane(
        topic=topic,
        partition=partition,
        start=offsets[0],
        stop=offsets[1],
        commands=lane.commands,
        results=lane.results,
        repeats=sum(log.repeats.total for log in lane.logs.values()),
        expired=lane.expired,
        unchecked=lane.unchecked,
        findings=dict(lane.findings.counts),
    )
