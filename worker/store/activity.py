"""What workers did, minute by minute, as they write it down and as operators read it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from worker.store import sql
from worker.store.sql import Connection

KEPT_DAYS = 1
MOST_PAIRS = 200
"""Of company and code: so many are written a minute, and read of an hour."""

Refusals: TypeAlias = Mapping[tuple[str | None, str], int]
"""How many of each company and code; None where it is not known whose they are."""


@dataclass(frozen=True, slots=True)
class MinuteCounts:
    """What one worker did in a minute; `outcomes` by code, `created` and `replayed` among them."""

    minute: datetime
    outcomes: Mapping[str, int]
    refusals: Refusals


@dataclass(frozen=True, slots=True)
class OutcomeCount:
    """Answers of a group in a minute."""

    minute: datetime
    code: str
    count: int


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """Refusals of a company."""

    company_id: str | None
    name: str | None
    code: str
    count: int


async def write_activity(connection: Connection, group_id: str, member: str, minutes: list[MinuteCounts]) -> None:
    """In place of what the member said of these minutes before."""
    counts = [
        json.dumps({"outcomes": one.outcomes, "refusals": [[*whose, n] for whose, n in one.refusals.items()]})
        for one in minutes
    ]
    await connection.execute(sql.load("write_activity"), group_id, member, [one.minute for one in minutes], counts)


async def this_minute(connection: Connection) -> datetime:
    """Its beginning, by the database's clock."""
    minute: datetime = await connection.fetchval(sql.load("this_minute"))
    return minute


async def outcome_counts(connection: Connection, group_id: str, minutes: int) -> list[OutcomeCount]:
    """Of all workers of a group, in the last minutes up to the current one."""
    return [OutcomeCount(**row) for row in await connection.fetch(sql.load("activity_outcomes"), group_id, minutes)]


async def refusal_counts(connection: Connection, group_id: str, minutes: int) -> list[RefusalCount]:
    """Those of most, at most `MOST_PAIRS`, largest first."""
    rows = await connection.fetch(sql.load("activity_refusals"), group_id, minutes, MOST_PAIRS)
    return [RefusalCount(**row) for row in rows]
