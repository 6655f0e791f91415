"""Compares the clocks of Postgres, the worker and Kafka's brokers before old days are dropped."""

import time
from dataclasses import dataclass

from worker.store import sql
from worker.store.sql import Connection

# If clocks differ by more, old days stay. Smaller errors are harmless: the shortest retention has a day to spare.
AGREED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class NewestRecord:
    """The append time of the newest command in Unix seconds, by its broker's clock, and the most seconds since then.

    `oldest_age` is infinite if nobody saw the log grow: an old record alone says nothing about a clock.
    """

    appended: float
    oldest_age: float


def clock_difference(ours: float, postgres: float, newest: NewestRecord | None) -> float:
    """The least by which two of the three clocks must differ, in seconds. Clocks are given in Unix seconds."""
    difference = abs(postgres - ours)
    if newest is not None:
        # The broker's clock is between the record's time and that time plus its oldest age. So a record from the future
        # always counts. A record from the past counts only if it was just appended: then both other clocks may be
        # wrong together. In an idle installation the worker's clock and that of Postgres decide.
        earliest, latest = newest.appended, newest.appended + newest.oldest_age
        difference = max(difference, *(max(earliest - clock, clock - latest) for clock in (ours, postgres)))
    return difference


async def clock_ahead(connection: Connection) -> float:
    """Seconds by which the clock of Postgres is ahead of ours, exact to half a round trip; negative if it is behind."""
    query = sql.load("clock")
    await connection.fetchval(query)  # prepares the statement, so that below there is only one round trip
    before = time.time()
    theirs: float = await connection.fetchval(query)
    return theirs - (before + time.time()) / 2
