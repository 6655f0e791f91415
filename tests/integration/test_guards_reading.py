"""Guards B1, B10, B12 and B13: what is read is what the lane stands at, whatever aiokafka does between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from tests.integration.guards_helpers import (
    Running,
    changed,
    commands,
    expire,
    held,
    log_end,
    publish,
    reset_offset,
    running,
    transaction,
)
from tests.invariants import check_invariants
from tests.workbench import Workbench, until
from worker.stream.lane import LaneState
from worker.stream.reader import POLL_MS

pytestmark = pytest.mark.real_kafka

# B1


async def test_b1_a_new_partition_is_not_read_before_its_lane_is_open(bench: Workbench) -> None:
    """The partition is paused while the lane opens, and reading starts at A, not at the group's offset.

    Seen to fail without `pause` in the callback (nothing is paused), and without `seek` (the lane reopens for ever).
    """
    await publish(bench, commands(bench, 0, 10))
    async with running(bench):
        await bench.wait_for_results(10)
    await reset_offset(bench, 4)
    await publish(bench, commands(bench, 10, 15))
    async with held(bench), running(bench, opened=False) as one:
        await asyncio.sleep(2)
        assert one.assignment._consumer.paused() == {one.place(0), one.place(1)}
        assert [lane.state for lane in one.assignment.lanes.values()] == [LaneState.OPENING] * 2
        assert not len(one.lane().inbox)
    async with running(bench) as one:
        results = await bench.wait_for_results(10 + 6 + 5)
        assert one.reopenings() == 0
    assert len(results) == 21
    await check_invariants(bench, reemitted=True)


@pytest.mark.parametrize("shift", [-3, 3])
async def test_b1_a_position_that_moved_without_the_lane_is_noticed(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, shift: int
) -> None:
    """A poll that fails after it moved the position back or ahead makes the lane seek again: nothing lost or doubled.

    Seen to fail where the lane went on: ahead, three commands got no result. Behind, the ledger's key on (lane, offset)
    would have caught it too, so that half holds the second line of defence. What notices a position that moved where
    no poll failed is tested in `tests/unit/test_reader.py`.
    """
    await publish(bench, commands(bench, 0, 10))
    async with running(bench) as one:
        await bench.wait_for_results(10)
        consumer, place = one.assignment._consumer, one.place()
        _once_after_getmany(monkeypatch, lambda: consumer.seek(place, 10 + shift))
        await publish(bench, commands(bench, 10, 20))
        await bench.wait_for_results(20)
        await until(lambda: one.reopenings() == 1, 10, "the lane opened again")
    await check_invariants(bench)


def _once_after_getmany(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """The next poll ends with an error after `action`."""
    original, done = AIOKafkaConsumer.getmany, list[object]()

    async def getmany(self: AIOKafkaConsumer, *places: TopicPartition, **options: Any) -> Any:
        fetched = await original(self, *places, **options)
        if done:
            return fetched
        done.append(action())
        raise KafkaError("provoked")

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", getmany)


# B10


async def test_b10_a_fresh_group_starts_where_the_log_starts(bench: Workbench) -> None:
    """Commands that were published before the group existed are answered.

    Seen to fail with lanes that start at the end of the log when they have no position.
    """
    await publish(bench, commands(bench, 0, 10))
    async with running(bench):
        await bench.wait_for_results(10)
    await check_invariants(bench)


async def test_b10_a_position_out_of_range_halts_the_lane(bench: Workbench) -> None:
    """Commands that expire unread are reported; the consumer does not go on at the end of the log by itself.

    Seen to fail with `auto_offset_reset="latest"`: the position went to 20 in silence.
    """
    async with running(bench) as one:
        consumer, place = one.assignment._consumer, one.place()
        consumer.pause(place)
        await asyncio.sleep(3 * POLL_MS / 1000)  # a fetch that is under way comes back with nothing
        await publish(bench, commands(bench, 0, 20))
        await expire(bench, 15)
        consumer.resume(place)
        await until(lambda: one.lane().state is LaneState.HALTED, 20, "halted")
        assert "the log starts at 15" in one.lane().reason
        assert one.lane().lag.applied == 0
        assert one.lane(1).state is LaneState.RUNNING


# B12


async def test_b12_markers_and_aborted_commands_leave_no_lag(bench: Workbench) -> None:
    """Behind transactional producers E reaches the end of the log, the lag 0, and aborted commands get no result.

    Seen to fail when the fetch offset was the last record's offset + 1: E stayed below the markers.
    """
    async with running(bench) as one:
        for start in (0, 5, 10):
            await asyncio.to_thread(transaction, bench, commands(bench, start, start + 5), commit=True)
        await asyncio.to_thread(transaction, bench, commands(bench, 15, 20), commit=False)
        end = await log_end(bench)
        assert end == 15 + 3 + 5 + 1
        await one.emitted(end)
        assert await one.committed() == end
        await until(lambda: one.metric("passport_lane_lag_records") == 0, 10, "no lag")
    results = await check_invariants(bench)
    assert len(results) == 15


# B13


async def test_b13_a_poll_takes_nothing_for_a_lane_that_wants_nothing(bench: Workbench) -> None:
    """Records of a full lane stay with the consumer while the other lane reads on.

    Seen to fail with a `getmany` that names no partitions: the full lane's records were dropped and it reopened.
    """
    settings = changed(bench.settings, batch_records=5)
    async with running(bench, settings=settings) as one:
        one.lane(0).due_at = inf  # as while its keys are away, say: it takes part in no turn
        for start in range(0, 60, 6):
            await publish(bench, commands(bench, start, start + 6, None))
            await asyncio.sleep(0.05)
        await until(lambda: one.lane(1).lag.applied == 30, 20, "the other lane is done")
        assert not one.lane(0).wants_records
        one.lane(0).due_at = 0.0
        await bench.wait_for_results(60)
        assert (one.reopenings(0), one.reopenings(1)) == (0, 0)
    await check_invariants(bench)


async def test_b13_a_worker_stops_while_a_rebalance_hangs(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll that waits for an assignment that does not come keeps nobody from stopping within 10 s.

    Seen to fail while `run` waited for the poll: 11 s.
    """
    async with running(bench) as one, _a_rebalance_that_hangs(bench, one, monkeypatch):
        loop = asyncio.get_running_loop()
        started = loop.time()
        one.worker.stop()
        await asyncio.wait_for(one.task, 25)
        assert loop.time() - started < 8


async def test_b13_a_membership_that_ends_while_stopping_is_not_begun_again(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the group fails in the moment of stopping, the worker stops; it does not join once more.

    Seen to fail without the look at `_stopping` before a membership: it joined again.
    """

    def check_errors(self: GroupCoordinator) -> None:
        one.worker.stop()
        raise KafkaError("provoked")

    async with running(bench) as one:
        first, loop = one.assignment, asyncio.get_running_loop()
        started = loop.time()
        monkeypatch.setattr(GroupCoordinator, "check_errors", check_errors)
        await asyncio.wait_for(one.task, 25)
        assert one.assignment is first
        assert loop.time() - started < 7


@asynccontextmanager
async def _a_rebalance_that_hangs(
    bench: Workbench, one: Running, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """A second member holds the group up, and the worker's poll in flight has begun to wait for the assignment."""
    _poll_waits_for_the_assignment(monkeypatch, one.assignment._consumer._subscription)
    slow = SlowToRevoke()
    async with _member(bench, slow):
        await until(lambda: len(one.assignment.lanes) == 1 and one.lanes_run(), 30, "two members")
        async with _member(bench, None):
            await until(lambda: not one.assignment.lanes and slow.asked, 30, "the rebalance has begun")
            await asyncio.sleep(1)
            try:
                yield
            finally:
                slow.go_on.set()


class SlowToRevoke(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """A member that takes its time to give up its partitions."""

    def __init__(self) -> None:
        self.asked, self.go_on = False, asyncio.Event()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Wait, but for the first time, when there is nothing to give up."""
        if revoked:
            self.asked = True
            await self.go_on.wait()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Nothing."""


@asynccontextmanager
async def _member(bench: Workbench, listener: ConsumerRebalanceListener | None) -> AsyncIterator[None]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bench.settings.kafka_bootstrap_servers,
        group_id=bench.settings.group_id,
        enable_auto_commit=False,
        session_timeout_ms=60_000,
        rebalance_timeout_ms=60_000,
    )
    await consumer.start()
    try:
        consumer.subscribe([bench.settings.topic_commands], listener=listener)
        yield
    finally:
        await asyncio.wait_for(consumer.stop(), 30)


def _poll_waits_for_the_assignment(monkeypatch: pytest.MonkeyPatch, subscription: SubscriptionState) -> None:
    """Wake the poll in flight when a rebalance begins, as a fetch that ends just then does."""
    original = SubscriptionState.begin_reassignment

    def begin_reassignment(self: SubscriptionState) -> None:
        original(self)
        if self is subscription:
            for waiter in [waiter for waiter in self._fetch_waiters if not waiter.done()]:
                waiter.set_result(None)

    monkeypatch.setattr(SubscriptionState, "begin_reassignment", begin_reassignment)
