"""What companies have used of their plans."""

from dataclasses import dataclass
from datetime import date

from worker.store import sql
from worker.store.sql import Connection


@dataclass(frozen=True, slots=True)
class Quota:
    """One company's. A limit is None where the plan has none, and so is its share; of a limit of 0 the share is 1.

    `charges` and `charged_cents` are those of the month, `writes` those of the day.
    """

    company_id: str
    name: str
    plan: str
    slots_used: int
    slots_limit: int | None
    slots_share: float | None
    writes: int
    writes_limit: int | None
    writes_share: float | None
    charges: int
    charged_cents: int


async def today(connection: Connection) -> date:
    """The UTC day, by the database's clock."""
    day: date = await connection.fetchval(sql.load("today", __package__))
    return day


async def quotas(
    connection: Connection, company_id: str | None, near: float | None, day: date, most: int | None = None
) -> list[Quota]:
    """Of one company or of all, nearest to an end first; `near` leaves out those that have used a smaller share."""
    rows = await connection.fetch(sql.load("quotas", __package__), company_id, near, day, most)
    return [Quota(*row.values()) for row in rows]
