"""A command that is published again says which record it repeats; the worker pays no heed to that header."""

from worker.messages.envelope import Record

REDRIVEN_FROM = "redriven-from"
"""The last header of such a command: `<topic>/<partition>/<offset>` of the record that it repeats."""


def redriven(original: Record) -> Record:
    """What is to be published: the same key, value and headers, and `redriven-from` behind them."""
    place = _place(original.topic, original.partition, original.offset)
    return original._replace(headers=[*original.headers, (REDRIVEN_FROM, place)])


def repeats(record: Record, topic: str, partition: int, offset: int) -> bool:
    """Whether it was published as a repetition of that record.

    Its last header tells: what was published again twice has one of each time.
    """
    return bool(record.headers) and record.headers[-1] == (REDRIVEN_FROM, _place(topic, partition, offset))


def _place(topic: str, partition: int, offset: int) -> bytes:
    return f"{topic}/{partition}/{offset}".encode()
