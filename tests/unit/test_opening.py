"""Opening lanes without servers: what has to have ended, and which answers of the servers count, before a lane runs."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError, TransactionalIdAuthorizationFailed
from aiokafka.structs import TopicPartition
from structlog.testing import capture_logs

from tests.contract.world import TOPIC
from tests.told import Told
from tests.unit.session_world import (
    GROUP,
    World,
    make_world,
    no_servers,  # noqa: F401  # a fixture that every test here uses
)
from tests.workbench import until
from worker.messages.events import Answer
from worker.store.port import FencingToken, LaneName, Owner, Registered, StoreUnavailable, TopicIdentity
from worker.stream import halts
from worker.stream.cluster.offset_fetch_v7 import Committed
from worker.stream.command_reader import CommandReader
from worker.stream.lane import LaneState
from worker.stream.lane_positions import look_for_lost_commits, read_positions

PRODUCERS = ("a", "b", "c")


class _Halts(Told):
    """Counts halts, and knows whether a lane that had halted was in another state."""

    halts = 0
    reopened_after_halt = False

    def lane_halted(self, name: LaneName) -> None:
        self.halts += 1

    def lane_state(self, name: LaneName, state: str) -> None:
        self.reopened_after_halt |= self.halts > 0 and state != "halted"


@pytest.fixture(autouse=True)
def _halted_lanes_are_looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the result topics, which have no stand-in here."""

    async def newest_results(*_: object) -> dict[int, int | None]:
        return {}

    monkeypatch.setattr(halts, "HALTED_LOOK_SECONDS", 0.13)  # no multiple of what `until` waits
    monkeypatch.setattr(halts, "newest_results", newest_results)


async def _halted(world: World, partition: int) -> str:
    """Wait until a lane halts, and return the reason."""
    lane = world.lanes[partition]
    await until(lambda: lane.state is LaneState.HALTED, 10, "the lane halts")
    return lane.reason


# Fences


@pytest.mark.parametrize("hanging", PRODUCERS)
async def test_a_lane_waits_for_every_producer_of_its_list(monkeypatch: pytest.MonkeyPatch, hanging: str) -> None:
    """Each of them may have results open, since an owner can die before it has fenced the ones before it."""
    world = make_world(2)
    for producer in PRODUCERS:
        await world.store.register([world.lanes[0].name], Owner(0, "before", producer))
    ask, has_ended = world.kafka.ask_transaction_coordinator, asyncio.Event()

    async def hang(transactional_id: str, request: Any) -> Any:
        if transactional_id == hanging:
            await has_ended.wait()
        return await ask(transactional_id, request)

    monkeypatch.setattr(world.kafka, "ask_transaction_coordinator", hang)
    world.begin()
    await world.until_running(1)
    others = {f"fence {producer}" for producer in PRODUCERS if producer != hanging}
    await until(lambda: others <= {*world.kafka.steps}, 10, "the other producers are fenced")
    waiting = f"waiting until Kafka has ended what {hanging} may have left open"
    await until(lambda: world.lanes[0].reason == waiting, 10, "the lane waits for the one that hangs")
    assert 0 not in world.kafka.begun
    has_ended.set()
    await world.until_running(0)
    await world.close()


async def test_a_fence_that_is_refused_halts_its_lane_until_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error proves nothing about the transaction of the other producer. Other lanes run."""
    world = make_world(2)
    await world.store.register([world.lanes[0].name], Owner(0, "before", "theirs"))
    ask, forbidden = world.kafka.ask_transaction_coordinator, [TransactionalIdAuthorizationFailed.errno]

    async def refuse(transactional_id: str, request: Any) -> Any:
        return SimpleNamespace(error_code=forbidden[0]) if forbidden else await ask(transactional_id, request)

    monkeypatch.setattr(world.kafka, "ask_transaction_coordinator", refuse)
    world.begin()
    await world.until_running(1)
    reason = await _halted(world, 0)
    assert "InitProducerId of theirs" in reason
    assert f"Allow Write on transactionalId {GROUP}." in reason
    assert 0 not in world.kafka.begun
    forbidden.clear()
    await world.until_running(0)
    assert "fence theirs" in world.kafka.steps
    await world.close()


async def test_a_lane_whose_fence_stays_refused_is_halted_all_the_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look asks again. Seen to fail: it counted as another halt each time, and as opening until the answer."""
    told = _Halts()
    world = make_world(1, hooks=told)
    await world.store.register([world.lanes[0].name], Owner(0, "before", "theirs"))
    asked = list[str]()

    async def refuse(transactional_id: str, request: Any) -> Any:
        asked.append(transactional_id)
        return SimpleNamespace(error_code=TransactionalIdAuthorizationFailed.errno)

    monkeypatch.setattr(world.kafka, "ask_transaction_coordinator", refuse)
    world.begin()
    with capture_logs() as logs:
        await until(lambda: len(asked) >= 3, 10, "it asks again")
        await _halted(world, 0)
    await world.close()
    assert (told.halts, told.reopened_after_halt) == (1, False)
    assert "halted_lane_goes_on" not in [one["event"] for one in logs]


# What both servers say while lanes open


async def test_lanes_that_move_on_while_they_are_looked_at_have_lost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker answers commands between the question for E and the one for A, so E has to be asked for first."""
    world = make_world(1)
    world.kafka.metadata = "passport-worker {}"
    other = LaneName(GROUP, TOPIC, 1)
    registered = (await world.store.register([other], Owner(1, "other", "theirs")))[other]
    assert isinstance(registered, Registered)
    await world.store.start_lane(registered.token, 0)
    committed, applied = world.kafka.committed, world.store.applied

    def answer_one() -> None:
        lane = world.store._lanes[other]
        assert lane.position is not None
        lane.position = replace(lane.position, applied=lane.position.applied + 1)
        world.kafka.committed_offsets[1] = lane.position.applied

    async def committed_then(*arguments: Any, **options: Any) -> dict[TopicPartition, Committed | None]:
        found = await committed(*arguments, **options)
        answer_one()
        return found

    async def applied_then(*arguments: Any) -> dict[tuple[str, int], int | None]:
        found = await applied(*arguments)
        answer_one()
        return found

    monkeypatch.setattr(world.kafka, "committed", committed_then)
    monkeypatch.setattr(world.store, "applied", applied_then)
    await world.start()
    assert world.kafka.committed_offsets[1] > 0, "the other lane moved"
    assert await look_for_lost_commits(world.shared, world.kafka) is None, "nor while lanes work"
    await world.close()


async def test_lost_commits_of_another_lane_are_seen_while_lanes_work() -> None:
    """By E and A of all lanes alone. An offset that a tool has set says nothing."""
    world = make_world(1)
    await world.keep(1, 3, emitted=3)
    await world.start()
    for metadata, offset, is_lost in (
        ("passport-worker {}", 3, False),
        ("by hand", 7, False),
        ("passport-worker {}", 7, True),
    ):
        world.kafka.metadata, world.kafka.committed_offsets[1] = metadata, offset
        reason = await look_for_lost_commits(world.shared, world.kafka)
        assert (reason is not None) is is_lost
    await world.close()


async def test_lost_commits_of_a_channel_that_nobody_serves_are_seen() -> None:
    """Seen to fail: its passports were created a second time, on another channel.

    A topic that the database does not know says nothing: another installation may have the same group.
    """
    world = make_world(1)
    name = LaneName(GROUP, f"gone.{TOPIC}", 0)
    registered = (await world.store.register([name], Owner(1, "before", "old")))[name]
    assert isinstance(registered, Registered)
    await world.store.start_lane(registered.token, 3)
    for topic, metadata, is_lost in (
        (name.topic, "passport-worker 3", False),
        (name.topic, "by hand", False),
        (name.topic, "passport-worker 7", True),
        ("not in the database", "passport-worker 7", False),
    ):
        offset = 7 if metadata == "by hand" else int(metadata[-1])
        world.kafka.unserved = {TopicPartition(topic, 0): Committed(offset, metadata)}
        reason = await look_for_lost_commits(world.shared, world.kafka)
        assert (reason is not None) is is_lost
    world.kafka.unserved = {TopicPartition(name.topic, 0): Committed(7, "passport-worker 7")}
    world.begin()
    assert f"{name.topic}/0 (E=7, A=3)" in await _halted(world, 0)
    await world.close()


async def test_a_database_that_is_exchanged_in_the_middle_of_a_turn_is_not_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever meets it first, such as the look whether it answers: the turn's own connection may be the second one.

    Seen to fail while a turn compared at its beginning alone: 50 of 50 units got a second passport, now and then.
    """
    world = make_world(1)
    await world.start()
    commands = world.shared.command_reader.commands

    async def exchanged(*arguments: Any) -> Any:
        world.store.incarnation = 1
        return await commands(*arguments)

    monkeypatch.setattr(CommandReader, "commands", lambda _, *arguments: exchanged(*arguments))
    world.fetch(0, 3)
    assert world.task is not None
    with pytest.raises(StoreUnavailable, match="another database answers"):
        async with asyncio.timeout(5):
            await world.task
    assert world.store.passports == []


@pytest.mark.parametrize("step", ["register", "list_only", "applied", "positions", "answers"])
async def test_a_database_that_is_exchanged_while_lanes_open_is_noticed(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Some of the answers came from the database before, so no command is decided on them."""
    world = make_world(1)
    await world.keep(0, 3)
    ask = getattr(world.store, step)

    async def exchange(*arguments: Any, **options: Any) -> Any:
        found = await ask(*arguments, **options)
        world.store.incarnation = 1
        return found

    monkeypatch.setattr(world.store, step, exchange)
    world.begin()
    assert world.task is not None
    with pytest.raises(StoreUnavailable, match="another database answers"):
        await asyncio.wait_for(world.task, 10)


async def test_a_day_that_is_dropped_while_its_answers_are_read_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lane emits nothing and halts; the answers behind that day would move E past results that never came out."""
    world = make_world(1)
    await world.keep(0, 5)
    name, read = world.lanes[0].name, world.store.answers

    async def drop_first(token: FencingToken, start: int, stop: int, limit: int) -> list[Answer]:
        lane = world.store._lanes[name]
        assert lane.position is not None
        lane.ledger = {offset: answer for offset, answer in lane.ledger.items() if offset >= 3}
        lane.position = replace(lane.position, ledger_from=3)
        return await read(token, start, stop, limit)

    monkeypatch.setattr(world.store, "answers", drop_first)
    world.begin()
    assert "answers below 3 were dropped from the ledger" in await _halted(world, 0)
    assert (world.kafka.turns, world.kafka.committed_offsets) == ([], {0: 0})
    await world.close()


# Opening again


async def test_a_lane_whose_reading_failed_answers_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records may be of a topic that is gone: their offsets would be committed for the one in its place."""
    world = make_world(1)
    await world.start()

    async def identities(topics: Collection[str]) -> dict[str, TopicIdentity]:
        return {topic: TopicIdentity("cluster", f"{topic}, made anew") for topic in topics}

    monkeypatch.setattr(world.kafka, "identities", identities)
    world.fetch(0, 3)
    world.lanes[0].inbox.fail("the topic was deleted or created again")
    assert "the topic was created again" in await _halted(world, 0)
    assert (world.kafka.turns, world.kafka.committed_offsets, world.store.passports) == ([], {}, [])
    await world.close()


async def test_a_topic_that_is_made_anew_before_a_lane_runs_halts_it_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It fits, and waits until its old results are out; and the watch tells of a change once.

    Seen to fail before: the lane forgot what it was told, and answered the new topic's commands at the old places.
    """
    world = make_world(1)
    await world.keep(0, 3)
    world.kafka.leaderless = {0}
    world.begin()
    await until(lambda: "has no leader" in world.lanes[0].reason, 10, "the lane waits")

    async def identities(topics: Collection[str]) -> dict[str, TopicIdentity]:
        return {topic: TopicIdentity("cluster", f"{topic}, made anew") for topic in topics}

    monkeypatch.setattr(world.kafka, "identities", identities)
    world.lanes[0].inbox.fail("the topic was deleted or created again")
    world.kafka.leaderless.clear()
    assert "the topic was created again" in await _halted(world, 0)
    assert (world.kafka.turns, world.kafka.begun, world.store.passports) == ([], {}, [])
    await world.close()


async def test_a_lane_whose_reason_to_halt_cannot_be_read_at_once_is_looked_at_again_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its leader or the coordinator may be busy for a moment. Seen to wait for half a minute, which says nothing."""
    answers = iter(["asking for the group's offset again", KafkaError("away")])

    async def busy_twice(lanes: Any, *arguments: Any) -> Any:
        answer = next(answers, None)
        if isinstance(answer, KafkaError):
            raise answer
        return dict.fromkeys(lanes, answer) if answer else await read_positions(lanes, *arguments)

    monkeypatch.setattr(halts, "read_positions", busy_twice)
    monkeypatch.setattr(halts, "RETRY_SECONDS", 0.05)
    world = make_world(1)
    await world.keep(0, 5, emitted=9)
    world.begin()
    assert "E=9 (committed in Kafka), A=5" in await _halted(world, 0)
    await world.close()
