"""Guards B1, B7, B8, B10, B12 and B13: what is read is what the lane stands at, whatever aiokafka does between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer

from tests.integration.guards_helpers import (
    LANE_ROWS,
    Running,
    changed,
    commands,
    expire,
    held,
    log_end,
    publish,
    publish_raw,
    raw,
    reset_offset,
    running,
)
from tests.invariants import check_invariants
from tests.workbench import Workbench, until
from worker.messages.envelope import Record
from worker.settings import Settings
from worker.stream import assignment as assignment_module
from worker.stream.lane import LaneState
from worker.stream.salvage import salvage

pytestmark = pytest.mark.real_kafka

BAD = (b"QQ-name", b"\xff\xfe-name")
"""A header name, and what becomes of it: not UTF-8."""


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

    Seen to fail while the position was asserted once for several polls: ahead, three commands got no result. Behind,
    the ledger's key on (lane, offset) would have caught it too, so that half holds the second line of defence.
    """
    await publish(bench, commands(bench, 0, 10))
    async with running(bench) as one:
        await bench.wait_for_results(10)
        consumer, place = one.assignment._consumer, one.place()
        consumer.pause(place)
        await publish(bench, commands(bench, 10, 20))
        _once_after_getmany(monkeypatch, lambda: (consumer.seek(place, 10 + shift), consumer.resume(place)))
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


# B8


async def test_b8_a_header_name_that_is_not_utf8_costs_one_record(bench: Workbench) -> None:
    """It is refused with a dead letter; its neighbours of the same batch and of the other partition are created.

    Seen to fail without `_poll_alone` and `_step_over`: the partition fails at the same offset for ever.
    """
    await publish(bench, commands(bench, 0, 6, None))
    async with running(bench) as one:
        offset = await publish_raw(bench, [raw(bench, n, *_bad_name(n == 2)) for n in range(4)], BAD)
        await publish(bench, commands(bench, 6, 12, None))
        results = await bench.wait_for_results(16)
        assert one.metric("passport_lane_position") == offset + 4 + 3
    assert len(results) == 16
    refused = [result for result in results if result.topic == bench.settings.topic_rejected]
    assert [one.cause for one in refused] == [f"{bench.settings.topic_commands}/0/{offset + 2}"]
    assert refused[0].body["status"] == 400
    letters = bench.read([bench.dead_letters])
    assert [letter.header("dlq-reason") for letter in letters] == ["header-name-not-utf8"]
    assert letters[0].header("\\xff\\xfe-name") == "here"
    assert letters[0].value == raw(bench, 2)[0]


def _bad_name(bad: bool) -> list[tuple[str, bytes]]:
    return [(BAD[0].decode(), b"here")] if bad else []


async def test_b8_a_bad_record_behind_markers_and_aborted_records_is_the_one_refused(bench: Workbench) -> None:
    """Markers and aborted commands between the position and the bad record get no result of their own.

    Seen to fail while the salvage took whatever lay at the position: the commit marker was refused as a command.
    """
    await asyncio.to_thread(_transaction, bench, commands(bench, 0, 2), commit=True)
    await asyncio.to_thread(_transaction, bench, commands(bench, 2, 4), commit=False)
    offset = await publish_raw(bench, [raw(bench, 0, *_bad_name(True)), raw(bench, 1)], BAD)
    assert offset == 6
    async with running(bench):
        results = await bench.wait_for_results(4)
    results = bench.results()
    assert sorted(int(one.cause.rpartition("/")[2]) for one in results) == [0, 1, 6, 7]
    assert [one.cause.rpartition("/")[2] for one in bench.read([bench.settings.topic_rejected])] == ["6"]


def _transaction(bench: Workbench, records: list[dict[str, object]], *, commit: bool) -> None:
    servers, name = bench.settings.kafka_bootstrap_servers, f"{bench.settings.group_id}-mes"
    producer = Producer({"bootstrap.servers": servers, "transactional.id": name})
    producer.init_transactions(20)
    producer.begin_transaction()
    for record in records:
        producer.produce(bench.settings.topic_commands, **record)  # type: ignore[arg-type]
    assert producer.flush(20) == 0
    (producer.commit_transaction if commit else producer.abort_transaction)(20)


async def test_b8_a_lane_that_reopens_during_a_salvage_loses_nothing(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was salvaged for the lane as it was is not given to the lane as it is, which stands elsewhere.

    Seen to fail while `_step_over` put its record unasked: the commands in front of it got no result.
    """
    rounds, release = list[int](), asyncio.Event()

    async def slow_salvage(settings: Settings, place: TopicPartition, offset: int) -> Record:
        found = await salvage(settings, place, offset)
        rounds.append(offset)
        if len(rounds) == 1:
            one.lane().inbox.fail("provoked")
            release.set()
            await until(lambda: one.reopenings() == 1 and one.lane().state is LaneState.RUNNING, 20, "open again")
            assert one.lane().inbox.fetch_offset < offset
        return found

    monkeypatch.setattr(assignment_module, "salvage", slow_salvage)
    async with running(bench) as one:
        async with held(bench, LANE_ROWS):
            await publish_raw(bench, [raw(bench, n, *_bad_name(n == 4)) for n in range(6)], BAD)
            await asyncio.wait_for(release.wait(), 20)
        await bench.wait_for_results(6)
    assert sorted(int(one.cause.rpartition("/")[2]) for one in bench.results()) == list(range(6))


async def test_b8_what_was_drained_beside_a_bad_record_is_read_again(bench: Workbench) -> None:
    """A poll that fails in one partition forgets what it took from another; that lane goes back and misses nothing.

    Seen to fail while the position was asserted once for several polls: ten commands of the good partition were lost.
    """
    async with running(bench) as one:
        consumer, places = one.assignment._consumer, (one.place(0), one.place(1))
        for turn in range(6):  # which of the two is drained first is left to chance
            consumer.pause(*places)
            await publish_raw(bench, [raw(bench, turn, *_bad_name(True))], BAD)
            await publish(bench, commands(bench, 10 * turn, 10 * turn + 10, 1))
            consumer.resume(*places)
            await until(lambda expected=turn + 1: one.lane(0).emitted == expected, 20, "the bad one refused")
            await until(lambda expected=10 * turn + 10: one.lane(1).emitted == expected, 20, "ten more on")
    results = bench.results()
    assert len({one.cause for one in results}) == len(results) == 6 + 60


async def test_b8_bytes_that_fail_their_checksum_are_never_taken(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the wire garbles records the lane waits and says so; afterwards each command is created as it was sent.

    Seen to fail without the CRC check of the salvage: garbled bytes were refused as commands.
    """
    async with running(bench) as one:
        with monkeypatch.context() as wire:
            _answer_fetches(wire, lambda records: records.replace(b"unit-", b"unjt-"))
            await asyncio.sleep(0.5)  # the fetch in flight is answered as it was
            await publish(bench, commands(bench, 0, 10))
            await until(lambda: one.reopenings() >= 2, 30, "reopenings on garbled records")
            assert "cannot be read" in one.lane().reason or one.lane().state is LaneState.RUNNING
            assert bench.results() == []
        await bench.wait_for_results(10)
    results = await check_invariants(bench)
    assert {one.topic for one in results} == {bench.settings.topic_created}


async def test_b8_a_record_that_the_client_skips_as_too_large_is_read_again(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka passes over a batch that arrives in part, and moves its position by one; the lane goes back.

    Seen to fail without the assertion of the position: the first command got no result.
    """
    async with running(bench) as one:
        with monkeypatch.context() as wire:
            _answer_fetches(wire, lambda records: records[:-1], most=1)
            await asyncio.sleep(0.5)
            await publish(bench, commands(bench, 0, 10))
            await bench.wait_for_results(10)
        assert one.reopenings() == 1
    await check_invariants(bench)


def _answer_fetches(monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes], most: int = 1_000_000) -> None:
    """Change the records in the broker's answers to fetches, at most so many times."""
    original, changes = AIOKafkaClient.send, list[int]()

    async def send(self: AIOKafkaClient, node: int, request: Any, **options: Any) -> Any:
        response = await original(self, node, request, **options)
        if isinstance(request, FetchRequest):
            response.topics = [(topic, [one(*part) for part in parts]) for topic, parts in response.topics]
        return response

    def one(*part: Any) -> tuple[Any, ...]:
        records = bytes(part[-1] or b"")
        if not records or len(changes) >= most:
            return part
        changes.append(len(records))
        return (*part[:-1], change(records))

    monkeypatch.setattr(AIOKafkaClient, "send", send)


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
        await publish(bench, commands(bench, 0, 20))
        await expire(bench, 15)
        consumer.resume(place)
        await until(lambda: one.lane().state is LaneState.HALTED, 20, "halted")
        assert "the log starts at 15" in one.lane().reason
        assert one.lane().applied == 0
        assert one.lane(1).state is LaneState.RUNNING


# B12


async def test_b12_markers_and_aborted_commands_leave_no_lag(bench: Workbench) -> None:
    """Behind transactional producers E reaches the end of the log, the lag 0, and aborted commands get no result.

    Seen to fail when the fetch offset was the last record's offset + 1: E stayed below the markers.
    """
    async with running(bench) as one:
        for start in (0, 5, 10):
            await asyncio.to_thread(_transaction, bench, commands(bench, start, start + 5), commit=True)
        await asyncio.to_thread(_transaction, bench, commands(bench, 15, 20), commit=False)
        end = await log_end(bench)
        assert end == 15 + 3 + 5 + 1
        await until(lambda: one.lane().emitted == end, 20, "all behind the markers committed")
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
        async with held(bench, LANE_ROWS):
            for start in range(0, 60, 6):
                await publish(bench, commands(bench, start, start + 6, None))
                await asyncio.sleep(0.05)
            await until(lambda: one.lane(1).applied == 30, 20, "the other lane is done")
            assert not one.lane(0).wants_records
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
