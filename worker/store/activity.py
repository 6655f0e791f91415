"""The counts that workers write for operators: by minute, and by company and day."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple, TypeAlias

from worker.store import sql
from worker.store.sql import Connection

# The most pairs of company and code that a worker writes a minute, and companies that a look at the last hour returns.
MOST_PAIRS = 200

# Numbers by company and code. The company is None if the credentials name none.
Refusals: TypeAlias = Mapping[tuple[str | None, str], int]


@dataclass(frozen=True, slots=True)
class MinuteCounts:
    """The counts of one worker in a minute. `outcomes` are by code, `created` and `replayed` among them."""

    minute: datetime
    outcomes: Mapping[str, int]
    refusals: Refusals


class CompanyDay(NamedTuple):
    """The commands of a company that one worker answered on a UTC day, and when it last accepted one."""

    day: date
    company_id: str
    answered: int
    refused: int
    accepted_at: datetime | None


class RefusedCompany(NamedTuple):
    """A company's refused commands of the last hour. `answered` counts all companies. `is_entirely`: none accepted."""

    company_id: str
    refused: int
    answered: int
    is_entirely: bool


async def write_activity(connection: Connection, group_id: str, member: str, minutes: list[MinuteCounts]) -> None:
    """Write minutes of a member, over what it wrote for them before."""
    counts = [
        json.dumps({"outcomes": minute.outcomes, "refusals": [[*pair, n] for pair, n in minute.refusals.items()]})
        for minute in minutes
    ]
    times = [minute.minute for minute in minutes]
    await connection.execute(sql.load("write_activity"), group_id, member, times, counts)


async def write_company_days(connection: Connection, group_id: str, member: str, days: Sequence[CompanyDay]) -> None:
    """Write counts of a member, over those that it wrote before."""
    columns = map(list, zip(*days, strict=True)) if days else ([] for _ in CompanyDay._fields)
    await connection.execute(sql.load("write_company_days"), group_id, member, *columns)


async def refused_companies(connection: Connection, group_id: str) -> list[RefusedCompany]:
    """The companies that a group refused most in the last hour. Read only."""
    rows = await connection.fetch(sql.load("refused_companies"), group_id, MOST_PAIRS)
    return [RefusedCompany(*row) for row in rows]
