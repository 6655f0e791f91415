"""Looks at lanes that read nothing: what becomes of a lane while somebody looks at it."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.structs import TopicPartition

from tests.unit.builders import record
from tests.workbench import until
from worker.observability.hooks import Hooks
from worker.store.port import LaneName
from worker.stream import lag_survey
from worker.stream.inbox import Budget, Inbox
from worker.stream.lane import Lane, LaneState
from worker.stream.log_reader import LogReader

NAME = LaneName("group", "commands", 0)
FIRST, END = 0, 12


async def _look(
    lane: Lane,
    offset: int | None,
    meanwhile: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    applied: int | None = None,
) -> None:
    """A look at a lane whose group has committed this offset. Something happens before it ends."""

    async def applied_offsets(*_: object) -> dict[tuple[str, int], int | None]:
        return {(NAME.topic, NAME.partition): applied}

    async def log_ends(partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        return dict.fromkeys(partitions, (FIRST, END))

    async def committed(_: str, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Any]:
        return dict.fromkeys(partitions, None if offset is None else SimpleNamespace(offset=offset))

    async def appended_ms(_: LogReader, __: str, ___: int, at: int) -> int:
        meanwhile()
        looked.set()
        return 1000 + at

    looked = asyncio.Event()
    monkeypatch.setattr(LogReader, "appended_ms", appended_ms)
    monkeypatch.setattr(lag_survey, "SURVEY_SECONDS", 0)
    consumer: Any = SimpleNamespace(log_ends=log_ends, by_leader=lambda idle: [list(idle)])
    store = SimpleNamespace(applied=applied_offsets)
    shared: Any = SimpleNamespace(cluster=SimpleNamespace(committed=committed), store=store)
    looking = asyncio.create_task(lag_survey.survey({lane.partition: lane}, consumer, shared))
    with suppress(TimeoutError):  # a look that finds what it knows reads no record
        async with asyncio.timeout(0.2):
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


async def test_a_lane_that_halts_after_a_look_is_as_old_as_the_command_where_it_halted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not as the one at the offset that somebody had set ahead, which was looked at while the lane was opening.

    Seen to fail: the survey of before counted as one of the place where the lane had halted, for good.
    """
    lane = _lane()
    await _look(lane, 11, lambda: None, monkeypatch)
    lane.lag.stands_at = 5
    lane.set_state(LaneState.HALTED, "the offset is ahead")
    await _look(lane, 11, lambda: None, monkeypatch)
    assert (lane.lag.records(), lane.lag.oldest_ms) == (7, 1005)


async def test_a_lane_that_worked_meanwhile_does_not_stand_where_it_once_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where it halts for a reason that tells no position, such as a fence that is refused.

    Seen to fail: it told the lag from the offset at which it had opened once, weeks ago.
    """
    lane = _lane()
    await _look(lane, 2, lambda: None, monkeypatch)
    lane.run(2)
    lane.reopen("doubt")
    lane.set_state(LaneState.HALTED, "Allow Write on transactionalId")
    await _look(lane, 11, lambda: None, monkeypatch)
    assert (lane.lag.records(), lane.lag.oldest_ms) == (1, 1011)


async def test_a_lane_whose_offset_kafka_has_forgotten_is_as_far_as_postgres_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen to fail: it told the whole log as its lag, also while it was halted because it may not read results."""
    lane = _lane()
    await _look(lane, None, lambda: None, monkeypatch, applied=10)
    assert (lane.lag.records(), lane.lag.oldest_ms) == (2, 1010)


async def test_a_leader_that_is_silent_holds_up_the_looks_at_its_own_lanes_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen to fail: the next look at any lane waited for it, up to 20 s for each of its lanes."""
    lanes = [Lane(LaneName("group", "commands", at), Inbox(100, Budget(1024)), Hooks()) for at in range(2)]
    looks: list[int] = []

    async def look(lane: Lane, *_: object) -> None:
        looks.append(lane.name.partition)
        await asyncio.sleep(60 * lane.name.partition)

    monkeypatch.setattr(lag_survey, "_look", look)
    monkeypatch.setattr(lag_survey, "SURVEY_SECONDS", 0.001)
    consumer: Any = SimpleNamespace(by_leader=lambda idle: [[one] for one in idle])
    survey = lag_survey.survey({lane.partition: lane for lane in lanes}, consumer, cast(Any, None))
    looking = asyncio.create_task(survey)
    try:
        await until(lambda: looks.count(0) > 3, 5, "it looks at the other lane again")
    finally:
        looking.cancel()
    assert looks.count(1) == 1
