"""The counts of workers, minute by minute, as they write them for the console."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from worker.store import sql
from worker.store.sql import Connection

# A worker writes so many pairs of company and code a minute, and the console shows so many of an hour.
MOST_PAIRS = 200

# Numbers by company and code. The company is None where nobody knows it.
Refusals: TypeAlias = Mapping[tuple[str | None, str], int]


@dataclass(frozen=True, slots=True)
class MinuteCounts:
    """The counts of one worker in a minute. `outcomes` are by code, `created` and `replayed` among them."""

    minute: datetime
    outcomes: Mapping[str, int]
    refusals: Refusals


async def write_activity(connection: Connection, group_id: str, member: str, minutes: list[MinuteCounts]) -> None:
    """Write these minutes of a member over those that it wrote before."""
    counts = [
        json.dumps({"outcomes": minute.outcomes, "refusals": [[*pair, n] for pair, n in minute.refusals.items()]})
        for minute in minutes
    ]
    times = [minute.minute for minute in minutes]
    await connection.execute(sql.load("write_activity"), group_id, member, times, counts)
