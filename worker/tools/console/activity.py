"""What workers did in the last hour: answers minute by minute, and who was refused and why."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from worker.messages.rules import CREATED, REFUSALS, REPLAYED
from worker.tools.common.checked import ask_database
from worker.tools.common.inspection import Inspection
from worker.tools.common.report import Problem
from worker.tools.common.rights import reading
from worker.tools.common.servers import Servers
from worker.tools.console.activity_counts import OutcomeCount, RefusalCount, outcome_counts, refusal_counts, this_minute
from worker.tools.console.report import ActivityReport, MinuteActivity, RefusedCompany

HOUR = 60
"""Minutes."""
_RIGHTS = reading("activity", "company")
_LABELS = {CREATED: CREATED, REPLAYED: REPLAYED, **{one.code: one.kind.label for one in REFUSALS.values()}}
ANSWERS = tuple(name for name in MinuteActivity.model_fields if name != "minute")
"""Fields of a minute: how many answers it has of each outcome."""


async def activity(servers: Servers) -> ActivityReport:
    """Of all workers of the group."""

    async def question(database: Inspection) -> tuple[datetime, list[OutcomeCount], list[RefusalCount]]:
        connection, group_id = database.connection, servers.settings.group_id
        return (
            await this_minute(connection),
            await outcome_counts(connection, group_id, HOUR),
            await refusal_counts(connection, group_id, HOUR),
        )

    found = await ask_database(servers, _RIGHTS, question)
    if isinstance(found, Problem):
        return ActivityReport(problems=(found,), minutes=(), refusals=())
    current, outcomes, refusals = found
    return ActivityReport(
        minutes=_minutes(current, outcomes),
        refusals=tuple(
            RefusedCompany(company=one.company_id, name=one.name, code=one.code, count=one.count) for one in refusals
        ),
    )


def _minutes(current: datetime, outcomes: Sequence[OutcomeCount]) -> tuple[MinuteActivity, ...]:
    """Also those of which nothing is written; answers of another version's codes count as rejected."""
    counts: dict[datetime, Counter[str]] = {
        current - timedelta(minutes=age): Counter() for age in range(HOUR - 1, -1, -1)
    }
    for one in outcomes:
        label = _LABELS.get(one.code, "rejected").replace("-", "_")
        counts.setdefault(one.minute, Counter())[label] += one.count  # a worker's clock may be ahead
    return tuple(
        MinuteActivity(minute=minute, **{name: counted[name] for name in ANSWERS})
        for minute, counted in sorted(counts.items())
    )
