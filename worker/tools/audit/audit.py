"""`passport-worker audit`: proves on a live system that each command has exactly one result, as the ledger has it."""

import asyncio
from collections.abc import Sequence
from functools import partial

from worker.messages.events import Answer
from worker.settings import Settings
from worker.stream.log_reader import LogReader
from worker.stream.published import before
from worker.tools.audit.lane_audit import MOST_PLACES, LaneAudit
from worker.tools.audit.report import AuditedLane, AuditReport
from worker.tools.audit.strays import Strays, note_strays_elsewhere
from worker.tools.common.findings import Findings
from worker.tools.common.group_view import group_view
from worker.tools.common.history import history, topics_of
from worker.tools.common.inspection import Covered, Inspection, LaneRow, emitted_of, inspection, position_in
from worker.tools.common.progress import Progress, paced
from worker.tools.common.report import Problem
from worker.tools.common.selection import Range, offsets_of
from worker.tools.common.servers import Servers

AT_ONCE = 6
"""Lanes that are read at once: while one waits for a server, the other is compared."""


async def audit(
    servers: Servers, chosen: Range, progress: Progress, *, allow_repeats: bool, rate: float = 0.0
) -> AuditReport:
    """Every chosen command up to E, lane by lane. E was asked for before A and before the ends of the logs: lanes move.

    `rate` is the most commands a second; 0 is no limit. Raises `CLUSTER_ERRORS`, `CannotConnect`, `DATABASE_ERRORS` and
    `BadSelection`.
    """
    settings, topic = servers.settings, servers.settings.topic_commands
    reader = LogReader(servers.cluster)
    async with inspection(settings.database_url) as database:
        view = await group_view(settings, servers.cluster)
        rows = await database.lanes(settings.group_id, topic)
        ends = {at: emitted_of(rows.get(at), one.committed and one.committed.offset) for at, one in view.items()}
        bounds = {at: _auditable(one.log.first, rows.get(at), ends[at]) for at, one in view.items()}
        offsets = await offsets_of(chosen, bounds, partial(reader.first_since, topic))
        topics = await topics_of(settings, servers.cluster)
        starts = {at: start for at, (start, stop) in offsets.items() if start < stop}
        ages = await LogReader(servers.cluster).appended_at(topic, starts)
        progress.begin("auditing", sum(stop - start for start, stop in offsets.values()))
        covered = [] if allow_repeats else await database.covered_repeats(topic)
        advance, many = paced(progress, rate), asyncio.Semaphore(AT_ONCE)

        async def lane(at: int) -> tuple[AuditedLane, list[Problem]]:
            async with many, inspection(settings.database_url) as own_database:
                since, ledger = before(ages.get(at, 0)), _LaneLedger(own_database, settings, rows.get(at))
                strays = Strays(topics, at, partial(ledger.decided, at, ends[at]), Findings(MOST_PLACES))
                logs = await history(reader, topics, at, offsets[at], since)
                one = LaneAudit(logs, ledger.read, settings.group_id, strays)
                await one.run(advance)
                if not allow_repeats:
                    _note_doubled(one, at, covered)
                return _audited(topic, at, offsets[at], one), one.findings.problems()

        elsewhere = Findings(MOST_PLACES)
        if not chosen.partitions:
            await note_strays_elsewhere(reader, topics, elsewhere)
        tasks = [asyncio.create_task(lane(at)) for at in offsets]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return AuditReport(
            problems=(*(problem for _, problems in found for problem in problems), *elsewhere.problems()),
            lanes=tuple(audited for audited, _ in found),
        )


def _auditable(first: int, row: LaneRow | None, emitted: int) -> tuple[int, int]:
    """What the log and the ledger still have of commands up to E."""
    start = max(first, position_in(row).ledger_from)
    return start, max(start, emitted)


class _LaneLedger:
    """What Postgres has of a lane, asked over one connection."""

    def __init__(self, database: Inspection, settings: Settings, row: LaneRow | None) -> None:
        self._database, self._settings, self._row = database, settings, row
        self._one_at_a_time = asyncio.Lock()  # as a connection wants it

    async def read(self, start: int, stop: int) -> Sequence[Answer]:
        """Rows of the ledger, as `Ledger` has it."""
        if self._row is None:
            return []
        async with self._one_at_a_time:
            return await self._database.ledger(self._row.id, start, stop)

    async def decided(self, partition: int, emitted: int) -> int:
        """The offset behind the last command that is decided now: A, or `emitted`, where Postgres lost commits."""
        async with self._one_at_a_time:
            rows = await self._database.lanes(self._settings.group_id, self._settings.topic_commands)
        return max(emitted, position_in(rows.get(partition)).applied)


def _note_doubled(one: LaneAudit, partition: int, covered: Sequence[Covered]) -> None:
    """Results that came more often than once and once for each operation that repeated them."""
    for log in one.logs.values():
        for offset, times in log.repeats:
            allowed = sum(each.partition == partition and each.start <= offset < each.stop for each in covered)
            if times > allowed:
                one.add(f"{log.prefix}doubled", offset, f"{1 + times} are visible, and {1 + allowed} are accounted for")


def _audited(topic: str, partition: int, offsets: tuple[int, int], one: LaneAudit) -> AuditedLane:
    return AuditedLane(
        topic=topic,
        partition=partition,
        start=offsets[0],
        stop=offsets[1],
        commands=one.commands,
        results=one.results,
        repeats=sum(log.repeats.total for log in one.logs.values()),
        expired=one.expired,
        findings=dict(one.findings.counts),
    )
