"""The counts that workers wrote in the last minutes, summed over all workers of a group."""

from dataclasses import dataclass
from datetime import datetime

from worker.store import sql
from worker.store.activity import MOST_PAIRS
from worker.store.sql import Connection


@dataclass(frozen=True, slots=True)
class OutcomeCount:
    """The number of answers of one code in a minute."""

    minute: datetime
    code: str
    count: int


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """The number of refusals of one code to a company."""

    company_id: str | None
    name: str | None
    code: str
    count: int


async def this_minute(connection: Connection) -> datetime:
    """The beginning of the current minute, by the database's clock."""
    minute: datetime = await connection.fetchval(sql.load("this_minute", __package__))
    return minute


async def outcome_counts(connection: Connection, group_id: str, minutes: int) -> list[OutcomeCount]:
    """The answers of the last minutes, the current one among them."""
    return [
        OutcomeCount(**row)
        for row in await connection.fetch(sql.load("activity_outcomes", __package__), group_id, minutes)
    ]


async def refusal_counts(connection: Connection, group_id: str, minutes: int) -> list[RefusalCount]:
    """The `MOST_PAIRS` largest numbers of refusals, largest first."""
    rows = await connection.fetch(sql.load("activity_refusals", __package__), group_id, minutes, MOST_PAIRS)
    return [RefusalCount(**row) for row in rows]
