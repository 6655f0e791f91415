"""Looks at lanes that read nothing: what becomes of a lane while somebody looks at it."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from tests.unit.builders import record
from worker.observability.hooks import Hooks
from worker.store.port import LaneName
from worker.stream import lag_survey
from worker.stream.inbox import Budget, Inbox
from worker.stream.lane import Lane, LaneState
from worker.stream.log_reader import LogReader

NAME = LaneName("group", "commands", 0)
FIRST, END = 0, 12


async def _look(lane: Lane, offset: int, meanwhile: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a lane whose group has committed this offset. Something happens before it ends."""

    async def log_ends(partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        return dict.fromkeys(partitions, (FIRST, END))

    async def committed(_: str, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Any]:
        return dict.fromkeys(partitions, SimpleNamespace(offset=offset))

    async def appended_ms(_: LogReader, __: str, ___: int, at: int) -> int:
        meanwhile()
        looked.set()
        return 1000 + at

    looked = asyncio.Event()
    monkeypatch.setattr(LogReader, "appended_ms", appended_ms)
    monkeypatch.setattr(lag_survey, "SURVEY_SECONDS", 0)
    consumer: Any = SimpleNamespace(log_ends=log_ends, by_leader=lambda idle: [list(idle)])
    shared: Any = SimpleNamespace(cluster=SimpleNamespace(committed=committed))
    looking = asyncio.create_task(lag_survey.survey({lane.partition: lane}, consumer, shared))
    await looked.wait()
    await asyncio.sleep(0)
    looking.cancel()
    with suppress(asyncio.CancelledError):
        await looking


def _lane() -> Lane:
    return Lane(NAME, Inbox(100, Budget(1024)), Hooks())


async def test_a_lane_that_does_not_open_stands_at_its_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command there waits longest."""
    lane = _lane()
    await _look(lane, 5, lambda: None, monkeypatch)
    assert (lane.lag.records(), lane.lag.oldest_ms) == (7, 1005)


async def test_a_lane_that_halts_while_somebody_looks_stands_where_it_halted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the offset that somebody had set ahead.

    Seen to fail before: the look that had begun while the lane was opening told where the halted lane stood, for good.
    """
    lane = _lane()

    def halt() -> None:
        lane.lag.stands_at = 5
        lane.set_state(LaneState.HALTED, "the offset is ahead")

    await _look(lane, 11, halt, monkeypatch)
    assert lane.lag.records() == 7
    await _look(lane, 11, lambda: None, monkeypatch)
    assert (lane.lag.records(), lane.lag.oldest_ms) == (7, 1005)


async def test_a_lane_that_opens_while_somebody_looks_has_its_own_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in its inbox is newer than the look."""
    lane = _lane()

    def run() -> None:
        lane.run(11)
        lane.inbox.put([record(offset=11, timestamp_ms=3000)], END)

    await _look(lane, 5, run, monkeypatch)
    assert (lane.lag.records(), lane.lag.oldest_ms) == (1, 3000)
