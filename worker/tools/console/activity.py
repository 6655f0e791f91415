"""The activity of all workers in the last hour: answers by minute, and refusals by company and reason."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from worker.messages.rules import CREATED, REFUSALS, REPLAYED
from worker.store import sql
from worker.store.activity import MOST_PAIRS
from worker.store.sql import Connection
from worker.tools.common.inspection import Inspection
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.report import Problem
from worker.tools.common.rights import reading
from worker.tools.common.servers import Servers
from worker.tools.console.report import HOUR, ActivityReport, MinuteActivity, RefusedCompany

_RIGHTS = reading("activity", "company")
_LABELS = {CREATED: CREATED, REPLAYED: REPLAYED, **{refusal.code: refusal.kind.label for refusal in REFUSALS.values()}}
ANSWERS = tuple(name for name in MinuteActivity.model_fields if name != "minute")
"""Fields of `MinuteActivity` with counts of answers."""


async def activity(servers: Servers) -> ActivityReport:
    """The report. Workers write their activity every ten seconds."""

    async def question(database: Inspection) -> ActivityReport:
        return await activity_of(database.connection, servers.settings.group_id)

    answer = await ask_database(servers, _RIGHTS, question)
    return ActivityReport(problems=(answer,), minutes=(), refusals=()) if isinstance(answer, Problem) else answer


async def activity_of(connection: Connection, group_id: str) -> ActivityReport:
    """The sums of what workers of a group counted in the last hour; of refusals, the `MOST_PAIRS` largest."""
    current = await connection.fetchval(sql.load("this_minute", __package__))
    outcomes = await connection.fetch(sql.load("activity_outcomes", __package__), group_id, HOUR)
    refusals = await connection.fetch(sql.load("activity_refusals", __package__), group_id, HOUR, MOST_PAIRS)
    return ActivityReport(
        minutes=_minutes(current, outcomes), refusals=tuple(RefusedCompany(**row) for row in refusals)
    )


def by_reason(refusals: Sequence[RefusedCompany]) -> tuple[RefusedCompany, ...]:
    """Refusals of all companies together, for readers who may not see companies."""
    counts: Counter[str] = Counter()
    for row in refusals:
        counts[row.code] += row.count
    return tuple(
        RefusedCompany(company=None, name=None, code=code, count=count) for code, count in counts.most_common()
    )


def _minutes(current: datetime, outcomes: Sequence[asyncpg.Record]) -> tuple[MinuteActivity, ...]:
    """All minutes of the hour, even empty ones. Codes of another version count as rejected."""
    counts: dict[datetime, Counter[str]] = {
        current - timedelta(minutes=age): Counter() for age in range(HOUR - 1, -1, -1)
    }
    for row in outcomes:
        label = _LABELS.get(row["code"], "rejected").replace("-", "_")
        counts.setdefault(row["minute"], Counter())[label] += row["count"]  # a worker's clock may be ahead
    return tuple(
        MinuteActivity(minute=minute, **{name: counted[name] for name in ANSWERS})
        for minute, counted in sorted(counts.items())
    )
