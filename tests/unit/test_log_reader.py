"""A part of a log is read to its end or not at all, whatever brokers answer meanwhile. The client is a stand-in."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import NotLeaderForPartitionError, OffsetOutOfRangeError, UnknownTopicOrPartitionError
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from worker.stream import log_reader as module
from worker.stream.log_reader import LogReader

MOVED, OUT_OF_RANGE = NotLeaderForPartitionError.errno, OffsetOutOfRangeError.errno


class _Log:
    """One partition, with two records a batch and two batches an answer; a stand-in for cluster and client."""

    def __init__(self, size: int) -> None:
        self.size, self.codes, self.fetched = size, list[int](), list[int]()
        self.empty_answers = 0
        self.cluster = SimpleNamespace(leader_for_partition=lambda place: 1)

    async def client(self) -> "_Log":
        return self

    async def _wait_on_metadata(self, topic: str) -> None:
        """It is known."""

    async def force_metadata_update(self) -> None:
        """It is as it was."""

    async def send(self, node: int, request: Any) -> Any:
        await asyncio.sleep(0)
        ((topic, ((partition, offset, _),)),) = request.topics
        self.fetched.append(offset)
        code = self.codes.pop(0) if self.codes else 0 if offset <= self.size else OUT_OF_RANGE
        records = b"".join(_batch(base) for base in range(offset - offset % 2, min(self.size, offset + 3), 2))
        if code or self.empty_answers:
            records, self.empty_answers = b"", max(0, self.empty_answers - 1)
        return SimpleNamespace(API_VERSION=4, topics=[(topic, [(partition, code, 0, 0, [], records)])])


def _batch(base: int) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1000)
    for number in range(2):
        builder.append(number, base + number, None, b"%d" % (base + number), [])
    return base.to_bytes(8, "big") + bytes(builder.build())[8:]


def _reader(log: _Log) -> LogReader:
    return LogReader(cast(Any, log))


async def _read(log: _Log, start: int, stop: int) -> list[list[int]]:
    return [[record.offset for record in records] async for records in _reader(log).read("t", 0, start, stop)]


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (0, 9), (3, 10), (3, 4), (4, 4), (9, 10)])
async def test_a_part_is_read_from_its_start_to_its_stop(start: int, stop: int) -> None:
    """Each record once, in order, and no record behind the stop."""
    assert [offset for offsets in await _read(_Log(10), start, stop) for offset in offsets] == [*range(start, stop)]


async def test_lists_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many records an answer has."""
    monkeypatch.setattr(module, "RECORDS_AT_ONCE", 3)
    assert await _read(_Log(10), 0, 10) == [[0, 1, 2], [3], [4, 5, 6], [7], [8, 9]]


async def test_the_next_part_is_fetched_while_one_is_used() -> None:
    """But not for a caller who takes the first list only."""
    log = _Log(10)
    reading = _reader(log).read("t", 0, 0, 10)
    await anext(reading)
    await asyncio.sleep(0.01)
    assert log.fetched == [0]
    await anext(reading)
    await asyncio.sleep(0.01)
    assert log.fetched == [0, 4]
    assert [len(records) async for records in reading] == [2]
    assert log.fetched == [0, 4, 8]


async def test_a_leader_that_moved_is_looked_for_again() -> None:
    """In the middle of a part, too."""
    log = _Log(6)
    log.codes = [0, MOVED, MOVED]
    assert await _read(log, 0, 6) == [[0, 1, 2, 3], [4, 5]]


async def test_an_answer_without_records_is_not_the_end() -> None:
    """Seen to fail where it was: how far results were published would then be told too low."""
    log = _Log(6)
    log.empty_answers = 2
    assert await _read(log, 0, 6) == [[0, 1, 2, 3], [4, 5]]


async def test_a_part_that_is_not_there_any_more_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted by the topic's retention, or behind the end of the log for as long as anybody waits."""
    log = _Log(6)
    log.codes = [OUT_OF_RANGE]
    with pytest.raises(OffsetOutOfRangeError):
        await _read(log, 0, 6)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    with pytest.raises(TimeoutError):
        await _read(_Log(6), 0, 7)


async def test_a_single_record_is_there_or_not() -> None:
    """Behind the end of the log there is none, nor in front of its start; other errors are raised."""
    log = _Log(6)
    found = await _reader(log).record("t", 0, 3)
    assert found is not None
    assert found.value == b"3"
    assert [await _reader(log).record("t", 0, offset) for offset in (6, 99)] == [None, None]
    log.codes = [UnknownTopicOrPartitionError.errno] * 5
    with pytest.raises(UnknownTopicOrPartitionError):
        await _reader(log).record("t", 0, 3)


async def test_times_of_records() -> None:
    """Partitions without a record there are left out."""
    assert await _reader(_Log(6)).appended_ms("t", 0, 5) == 5
    assert await _reader(_Log(6)).appended_at("t", {0: 6}) == {}
    assert await _reader(_Log(6)).appended_at("t", {0: 2}) == {0: 2}
