"""Compares the clocks of Postgres, the worker and Kafka's brokers before old days are dropped."""

import time
from dataclasses import dataclass

from worker.store import sql
from worker.store.sql import Connection

# Clocks that differ by more do not agree, and old days stay. The shortest retention leaves a day for such an error.
AGREED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class NewestRecord:
    """When the newest command was appended, in Unix seconds by its broker's clock, and its age at most, in seconds.

    The age is infinite where nobody saw the log grow: an old record alone says nothing of a clock.
    """

    appended: float
    oldest_age: float


def clock_difference(ours: float, postgres: float, newest: NewestRecord | None) -> float:
    """By how many seconds two of the three clocks differ at least; ours and that of Postgres in Unix seconds."""
    difference = abs(postgres - ours)
    if newest is not None:
        # The broker's clock is between the record's time and that time plus its oldest age. So a record from the future
        # always counts. A record from the past counts only where the log has just grown by it: then both other clocks
        # may be wrong together. In an idle installation the worker and Postgres decide.
        earliest, latest = newest.appended, newest.appended + newest.oldest_age
        difference = max(difference, *(max(earliest - clock, clock - latest) for clock in (ours, postgres)))
    return difference


async def clock_ahead(connection: Connection) -> float:
    """Seconds by which the clock of Postgres is ahead of ours, exact to half a round trip; negative if it is behind."""
    query = sql.load("clock")
    await connection.fetchval(query)  # prepares the statement, which takes round trips of its own
    before = time.time()
    theirs: float = await connection.fetchval(query)
    return theirs - (before + time.time()) / 2
