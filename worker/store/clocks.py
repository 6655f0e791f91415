"""Whether the clocks of Postgres, worker and brokers agree well enough to drop what is old."""

from dataclasses import dataclass

AGREED_SECONDS = 3600.0
"""Clocks that differ by more do not agree: old days stay. The shortest retention leaves a day for such an error."""


@dataclass(frozen=True, slots=True)
class NewestRecord:
    """When the newest command was appended, in Unix seconds by its broker's clock, and its age at most, in seconds.

    The age is infinite where nobody saw the log grow: an old record alone says nothing of a clock.
    """

    appended: float
    oldest_age: float


def clock_difference(ours: float, postgres: float, newest: NewestRecord | None) -> float:
    """By how many seconds two of the three clocks differ at least; ours and that of Postgres in Unix seconds.

    The broker's clock is somewhere between the newest record's time and that time plus its oldest age. So a record
    from the future always counts. A record from the past counts where the log has just grown by it: then both other
    clocks may be wrong together. An idle installation is judged by its worker and Postgres alone.
    """
    found = abs(postgres - ours)
    if newest is not None:
        earliest, latest = newest.appended, newest.appended + newest.oldest_age
        found = max(found, *(max(earliest - clock, clock - latest) for clock in (ours, postgres)))
    return found
