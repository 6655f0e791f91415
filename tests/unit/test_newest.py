"""The newest records of several logs are those that a reading of everything finds, and it says how far it went."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
from aiokafka.errors import OffsetOutOfRangeError

from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.stream.log_reader import Bounds, LogReader
from worker.tools.refusals.newest import FIRST_WINDOW, Bound, Newest, Tail, read_newest

WIDE = Bound(10**9, 10**12, 60.0)


def _record(partition: int, offset: int, time_ms: int, cause: int | None, key: bytes = b"") -> Record:
    return Record(
        "results", partition, offset, time_ms, key, b"{}", [("cause", None if cause is None else b"%d" % cause)]
    )


def _cause(record: Record) -> Place | None:
    text = dict(record.headers)["cause"]
    return None if text is None else Place("commands", 0, int(text))


class _Logs:
    """Logs whose offsets have gaps, as transaction markers leave them; counts the records that were read."""

    def __init__(self, logs: Sequence[Sequence[Record]]) -> None:
        self.logs, self.read_records = logs, 0

    async def read(self, topic: str, partition: int, start: int, stop: int) -> AsyncIterator[list[Record]]:
        records = [record for record in self.logs[partition] if start <= record.offset < stop]
        self.read_records += len(records)
        for at in range(0, len(records), 300):
            yield records[at : at + 300]

    def tails(self, first: int = 0) -> list[Tail]:
        ends = [log[-1].offset + 2 if log else 0 for log in self.logs]  # a marker stands behind the last record
        return [Tail("results", partition, min(first, end), end) for partition, end in enumerate(ends)]


async def _read(logs: _Logs, most: int, bound: Bound = WIDE, first: int = 0) -> Newest:
    return await read_newest(cast(LogReader, logs), logs.tails(first), _cause, most, bound)


def _some_logs(chance: random.Random) -> list[list[Record]]:
    """Busy and quiet logs, and empty ones. No two records have the same time, and some name no command."""
    logs, times = list[list[Record]](), iter(chance.sample(range(10**6), 6000))
    for partition in range(chance.randrange(1, 7)):
        stamps = sorted(next(times) for _ in range(chance.choice([0, 1, 40, 900])))
        offsets = sorted(chance.sample(range(3 * len(stamps)), len(stamps)))
        causes = [None if chance.random() < 0.3 else stamp for stamp in stamps]
        logs.append([_record(partition, *parts) for parts in zip(offsets, stamps, causes, strict=True)])
    return logs


@pytest.mark.parametrize("seed", range(60))
async def test_the_newest_are_those_of_a_reading_of_everything(seed: int) -> None:
    """Whatever the logs hold, in the same order; and all records since `back_to_ms` were looked at."""
    chance = random.Random(seed)
    logs = _Logs(_some_logs(chance))
    most = chance.choice([1, 7, 50, 5000])
    newest = await _read(logs, most)
    everything = sorted((record for log in logs.logs for record in log), key=lambda record: -record.timestamp_ms)
    wanted = [record for record in everything if _cause(record) is not None]
    assert list(newest.records) == wanted[:most]
    if newest.reach == "everything":
        assert (newest.back_to_ms, newest.looked_at) == (None, len(everything))
    else:
        oldest_ms = newest.records[-1].timestamp_ms
        assert (newest.reach, newest.back_to_ms) == ("enough", oldest_ms)
        assert newest.looked_at == sum(record.timestamp_ms >= oldest_ms for record in everything)


@pytest.mark.parametrize("seed", range(30))
async def test_what_a_bound_leaves_is_certain(seed: int) -> None:
    """No record that is shown has a newer one that was not looked at; the bound is kept."""
    chance = random.Random(1000 + seed)
    logs = _Logs(_some_logs(chance))
    bound = Bound(chance.choice([60, 300, 900]), 10**12, 60.0)
    newest = await _read(logs, 5000, bound)
    everything = sorted((record for log in logs.logs for record in log), key=lambda record: -record.timestamp_ms)
    certain = [record for record in everything if newest.back_to_ms is None or record.timestamp_ms >= newest.back_to_ms]
    assert newest.looked_at == len(certain)
    assert list(newest.records) == [record for record in certain if _cause(record) is not None]
    assert logs.read_records <= max(bound.records, FIRST_WINDOW * len(logs.logs))


async def test_large_records_end_it_by_their_bytes() -> None:
    """A stranger may have filled a topic with records of megabytes."""
    logs = _Logs([[_record(0, at, at, None)._replace(value=b"x" * 100_000) for at in range(5000)]])
    newest = await _read(logs, 10, Bound(10**9, 20_000_000, 60.0))
    assert newest.reach == "bound"
    assert logs.read_records <= 201


async def test_the_end_of_time_leaves_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that falls silent in the middle costs no record that was read before."""
    logs = _Logs([[_record(0, at, at, at) for at in range(5000)]])
    read = logs.read

    async def slow(*part: Any) -> AsyncIterator[list[Record]]:
        if logs.read_records:
            await asyncio.sleep(60)
        async for records in read(*part):
            yield records

    monkeypatch.setattr(logs, "read", slow)
    newest = await _read(logs, 5000, Bound(10**9, 10**12, 0.05))
    assert (newest.reach, len(newest.records)) == ("bound", newest.looked_at)
    assert 0 < newest.looked_at <= FIRST_WINDOW
    logs.read_records = 1
    with pytest.raises(TimeoutError):
        await _read(logs, 5000, Bound(10**9, 10**12, 0.05))


async def test_records_that_retention_deletes_meanwhile_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log begins later than it did when the reading began."""
    logs = _Logs([[_record(0, at, at, at) for at in range(100)]])
    read, first = logs.read, 70

    async def deleted(topic: str, partition: int, start: int, stop: int) -> AsyncIterator[list[Record]]:
        if start < first:
            raise OffsetOutOfRangeError
        async for records in read(topic, partition, start, stop):
            yield records

    async def bounds(_topic: str, _partitions: Sequence[int]) -> dict[int, Bounds]:
        return {0: Bounds(first, 101)}

    monkeypatch.setattr(logs, "read", deleted)
    monkeypatch.setattr(logs, "bounds", bounds, raising=False)
    newest = await _read(logs, 1000)
    assert [record.offset for record in newest.records] == [*range(99, first - 1, -1)]
    assert newest.reach == "everything"


async def test_a_result_that_was_published_again_counts_once() -> None:
    """A replay repeats a refusal. It is shown where it stands last."""
    logs = _Logs([[_record(0, 0, 10, 7), _record(0, 1, 11, 8)], [_record(1, 0, 20, 7)]])
    newest = await _read(logs, 10)
    assert [(record.partition, record.offset) for record in newest.records] == [(1, 0), (0, 1)]
    assert newest.looked_at == 3


async def test_nothing_older_than_the_first_offset_is_read() -> None:
    """The first offset is where the time begins that was asked for."""
    logs = _Logs([[_record(0, at, at, at) for at in range(100)]])
    newest = await _read(logs, 1000, first=90)
    assert [record.offset for record in newest.records] == [*range(99, 89, -1)]
    assert newest.reach == "everything"
