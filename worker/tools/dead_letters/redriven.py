"""A command that is published again says which record it repeats; the worker pays no heed to that header."""

from worker.domain.places import Place
from worker.messages.envelope import Record

REDRIVEN_FROM = "redriven-from"
"""The last header of such a command: `<topic>/<partition>/<offset>` of the record that it repeats."""


def redriven(original: Record) -> Record:
    """What is to be published: the same key, value and headers, and `redriven-from` behind them."""
    return original._replace(headers=[*original.headers, (REDRIVEN_FROM, str(original.place).encode())])


def repeats(record: Record, place: Place) -> bool:
    """Whether it was published as a repetition of the record at that place.

    Its last header tells: what was published again twice has one of each time.
    """
    return bool(record.headers) and record.headers[-1] == (REDRIVEN_FROM, str(place).encode())
