"""A session without servers: how its lanes open, what a turn takes of each, and what befalls one and not the others."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from aiokafka.structs import TopicPartition
from cryptography.hazmat.primitives.asymmetric import ec

from tests.contract.world import TOPIC
from tests.spans import events, spans_in_memory
from tests.told import Told
from tests.unit.oauth_builders import AUDIENCE, ISSUER, Clock, token
from tests.unit.session_world import (
    GROUP,
    World,
    command_at,
    make_world,
    no_servers,  # noqa: F401  # a fixture that every test here uses
)
from tests.workbench import until
from worker.auth import jwks
from worker.auth.access_tokens import TokenVerifier
from worker.auth.jwks import JwksSource
from worker.batch.batch import Batch
from worker.domain.places import Place
from worker.messages.envelope import Envelope, Limits, Record
from worker.messages.events import Header
from worker.observability.hooks import Hooks, Sent
from worker.store.port import (
    BatchTooLarge,
    LaneName,
    Owner,
    Registered,
    StoreUnavailable,
)
from worker.stream import halts, reemission
from worker.stream import opening as opening_module
from worker.stream import session as module
from worker.stream.cluster.offset_fetch_v7 import Committed, worker_metadata
from worker.stream.command_reader import CommandReader
from worker.stream.lane import Lane, LaneState
from worker.stream.open_lane import OpenLane
from worker.stream.positions import why_commits_are_lost
from worker.stream.producer import EmissionFailed
from worker.stream.session import LanesFailed


@pytest.fixture
def results_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a lane halts, no result tells why."""

    async def newest(*_: object) -> dict[int, int | None]:
        return {}

    monkeypatch.setattr(halts, "newest_results", newest)


# Opening


async def test_new_lanes_open_and_answer() -> None:
    """All in one session; closed, it leaves nothing to do."""
    world = make_world(3)
    await world.start()
    assert world.kafka.begun == {0: 0, 1: 0, 2: 0}
    assert world.kafka.steps == ["init", "offsets", "results {0: 0, 1: 0, 2: 0, 3: 0}", "offsets"]
    for partition, count in ((0, 3), (2, 1)):
        world.fetch(partition, count)
    await world.until_out(3, 0, 1)
    assert world.kafka.fetches == 1, "the consumer hears that a turn is nearly over"
    await world.close()
    assert {partition: offsets for turn in world.kafka.turns for partition, offsets in turn.items()} == {
        0: [0, 1, 2],
        2: [0],
    }
    assert [world.open(partition).emitted for partition in range(3)] == [3, 0, 1]


async def test_a_turn_is_told_once_with_all_of_its_lanes() -> None:
    """And lanes with what they are doing; a lane without commands has no part in it."""
    told = Told()
    world = make_world(3, hooks=told)
    await world.start()
    assert told.states == {0: "running", 1: "running", 2: "running"}
    world.fetch(0, 3)
    world.fetch(2, 1)
    await world.until_out(3, 0, 1)
    (turn,) = told.turns
    assert {batch.lane.partition: (batch.start, batch.stop, len(batch.answers)) for batch in turn.batches} == {
        0: (0, 3, 3),
        2: (0, 1, 1),
    }
    assert turn.outcomes == {"created": 4}
    await world.close()


async def test_each_id_is_fenced_once_before_offsets_are_asked_for() -> None:
    """After its own is made. Each lane waits for those of its own list; then the session is listed alone."""
    world = make_world(3)
    await world.store.register([world.lanes[0].name, world.lanes[1].name], Owner(0, "m", "both"))
    await world.store.register([world.lanes[1].name], Owner(0, "m", "second"))
    world.kafka.committed_offsets = dict.fromkeys(range(4), 0)
    world.kafka.fencing.clear()
    world.begin()
    await world.until_running(2)  # the lane that nobody had waits for no fence
    assert world.kafka.steps[0] == "init"
    assert world.kafka.steps.count("offsets") == 1
    assert {lane.state for lane in world.lanes[:2]} == {LaneState.OPENING}
    world.kafka.fencing.set()
    await world.until_running(0, 1)
    fences = [step for step in world.kafka.steps if step.startswith("fence")]
    assert sorted(fences) == ["fence both", "fence second"]
    assert world.kafka.steps[-1] == "offsets"
    await world.close()
    found = await world.store.register([lane.name for lane in world.lanes], Owner(2, "m", "next"))
    assert {one.producers for one in found.values() if isinstance(one, Registered)} == {frozenset([world.session.id])}


async def test_a_leader_that_is_silent_holds_up_its_own_lanes_only() -> None:
    """The others open at once, and answer; its lanes open when it has said where their logs end.

    Seen to fail while one question went to all leaders: no lane opened for as long as one of them hung.
    """
    world = make_world(4)
    world.kafka.silent = {1, 3}
    async with asyncio.timeout(5):
        world.begin()
        await world.until_running(0, 2)
        world.fetch(0, 3)
        await world.until_out(3)
        assert {world.lanes[at].state for at in (1, 3)} == {LaneState.OPENING}
        world.kafka.speaking.set()
        await world.until_running(1, 3)
    await world.close()


async def test_what_the_ledger_has_is_emitted_again_at_once() -> None:
    """Turn after turn, of all lanes that are behind, before any new command is read.

    Seen to fail while a session rested after each: a thousand results a second.
    """
    world = make_world(2)
    await world.keep(0, 3500, emitted=100)
    await world.keep(1, 700)
    await world.start()
    again: dict[int, list[int]] = {0: [], 1: []}
    for turn in world.kafka.turns:
        assert sum(map(len, turn.values())) <= reemission.REEMIT_RECORDS
        for partition, offsets in turn.items():
            again[partition] += offsets
    assert again == {0: [*range(100, 3500)], 1: [*range(700)]}
    assert world.kafka.begun == {0: 3500, 1: 700}
    await world.close()


async def test_where_kafka_has_no_offset_the_results_tell_how_far_they_go() -> None:
    """They are read after the fences, from the bound that Postgres has noted. The rest of the ledger is emitted again.

    Seen to fail while the noted bound was taken for E: the last results came a second time.
    """
    world = make_world(2)
    await world.keep(0, 5)
    await world.keep(1, 4)
    world.kafka.committed_offsets.clear()
    world.kafka.published = {0: 5, 1: 3}
    await world.start()
    assert world.kafka.turns == [{1: [3]}]
    assert world.kafka.begun == {0: 5, 1: 4}
    fences = [at for at, step in enumerate(world.kafka.steps) if step.startswith("fence")]
    assert max(fences) < world.kafka.steps.index("results {0: 0, 1: 0, 2: 0, 3: 0}")
    await world.close()


async def test_results_that_were_read_for_a_neighbour_do_not_tell_where_a_lane_stands() -> None:
    """A neighbour opens first, and has the results of all lanes read from A on: it only looks for lost commits.

    Seen to fail: where the lane's own leader answered later, that reading counted, and its last results came twice.
    """
    world = make_world(2)
    await world.keep(0, 5)
    await world.keep(1, 4)
    world.kafka.committed_offsets.clear()
    world.kafka.published = {0: 5, 1: 4}
    world.kafka.silent = {1}
    world.begin()
    await world.until_running(0)
    world.kafka.speaking.set()
    await world.until_running(1)
    assert world.kafka.turns == []
    await world.close()


@pytest.mark.usefixtures("results_unseen")
async def test_results_that_are_read_later_halt_lanes_that_are_at_work() -> None:
    """Those of another worker's lane, for which Kafka has no offset either, tell that commits are lost.

    Seen to fail: once all of its lanes were at work, a session looked at no such results any more.
    """
    world = make_world(2)
    await world.keep(0, 5, emitted=5)
    await world.keep(1, 5, emitted=5)
    world.kafka.published = {3: 7}
    world.kafka.hiding = {3}
    await world.start()
    world.kafka.showing.set()
    await world.until(lambda: {lane.state for lane in world.lanes} == {LaneState.HALTED})
    assert all("Postgres was restored from an older copy" in lane.reason for lane in world.lanes)
    await world.close()


@pytest.mark.parametrize(("partition", "end"), [(0, 6), (1, 1), (3, 7)], ids=["its own", "new here", "another's"])
@pytest.mark.usefixtures("results_unseen")
async def test_results_beyond_a_without_an_offset_halt_every_lane(partition: int, end: int) -> None:
    """A database that was restored and a group that was forgotten: nothing else tells that commits are lost.

    Seen to fail while no offset meant that nothing was published: all was answered a second time.
    """
    world = make_world(2)
    await world.keep(0, 5, emitted=5)
    del world.kafka.committed_offsets[0]
    world.kafka.published = {0: 5, partition: end}
    world.begin()
    await world.until(lambda: {lane.state for lane in world.lanes} == {LaneState.HALTED})
    assert all("Postgres was restored from an older copy" in lane.reason for lane in world.lanes)
    assert world.kafka.turns == []
    await world.close()


@pytest.mark.usefixtures("results_unseen")
async def test_a_lane_without_an_offset_whose_results_may_not_be_read_halts_alone() -> None:
    """It says what to allow. One that never ran begins: there is no sign that it ever did.

    Seen to fail: the lane that was open already was told that commits are lost, and halted, too.
    """
    world = make_world(2)
    await world.keep(0, 5, emitted=5)
    del world.kafka.committed_offsets[0]
    world.kafka.published = dict.fromkeys(range(4))
    world.kafka.fencing.clear()
    world.begin()
    await world.until_running(1)
    world.kafka.fencing.set()
    await world.until(lambda: world.lanes[0].state is LaneState.HALTED)
    assert "Allow Read on the result topics" in world.lanes[0].reason
    world.fetch(1, 1)
    await world.until_out(-1, 1)
    await world.close()


async def test_an_offset_that_was_set_back_is_noted_for_the_audit() -> None:
    """Below one that was reached before; results of a crash, which were never out, are no repeats."""
    world = make_world(2)
    await world.keep(0, 5, emitted=5)
    await world.keep(1, 5, emitted=2)
    name = world.lanes[0].name
    lane = world.store._lanes[name]
    await world.store.mark_emitted({lane.token(name): 5})
    world.kafka.committed_offsets[0] = 1
    await world.start()
    assert world.store.set_back == [(0, 1, 5)]
    await world.close()


async def test_a_lane_that_halts_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka is ahead of its ledger; the others open and answer."""

    async def newest_results(*_: object) -> dict[int, int | None]:
        return {}

    monkeypatch.setattr(halts, "newest_results", newest_results)
    world = make_world(2)
    await world.keep(0, 5, emitted=9)
    world.begin()
    await world.until_running(1)
    world.fetch(1, 2)
    await world.until_out(-1, 2)
    await until(lambda: world.lanes[0].state is LaneState.HALTED, 10, "it halts")
    assert "E=9 (committed in Kafka), A=5 (applied in Postgres)" in world.lanes[0].reason
    await world.close()


async def test_commits_that_postgres_has_lost_halt_every_lane() -> None:
    """Also those that fit, and also where the lane that lost them is another worker's: none would see its passports."""
    world = make_world(3)
    world.kafka.metadata = "passport-worker {}"
    await world.keep(0, 5, emitted=9)
    await world.keep(1, 5, emitted=5)
    world.lanes = world.lanes[1:]
    world.session = world.another()
    world.begin()
    await until(lambda: all(lane.state is LaneState.HALTED for lane in world.lanes), 10, "all halt")
    assert {lane.reason.split(" (looked")[0] for lane in world.lanes} == {
        why_commits_are_lost({(TOPIC, 0): Committed(9, worker_metadata(9))}, {(TOPIC, 0): 5}),
    }
    await world.close()


async def test_lanes_open_again_when_another_database_answers() -> None:
    """A copy that was put back beneath a running worker: whether it lacks commits is only seen on opening."""
    world = make_world(1)
    await world.start()
    world.store.incarnation = 1
    world.fetch(0, 1)
    assert world.task is not None
    with pytest.raises(StoreUnavailable, match="another database answers"):
        await asyncio.wait_for(world.task, 10)
    world.lanes[0].reopen("another database")
    await world.start()
    world.fetch(0, 1)
    await world.until_out(1)
    await world.close()


async def test_an_offset_of_a_worker_for_a_lane_that_postgres_does_not_know_halts_every_lane() -> None:
    """The copy is older than the lane."""
    world = make_world(2)
    world.kafka.metadata = "passport-worker {}"
    world.kafka.committed_offsets[1] = 3
    world.begin()
    await until(lambda: all(lane.state is LaneState.HALTED for lane in world.lanes), 10, "all halt")
    await world.close()


async def test_a_lane_of_a_newer_generation_is_lost_and_the_others_open() -> None:
    """It is asked for again later."""
    world = make_world(2)
    await world.store.register([world.lanes[0].name], Owner(7, "newer", "theirs"))
    world.begin()
    await world.until_running(1)
    lost = world.lanes[0]
    assert (lost.state, lost.reason) == (LaneState.LOST, "held for generation 7 by newer")
    assert "fence theirs" not in world.kafka.steps
    await world.close()


async def test_an_opening_that_failed_is_repeated_with_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the session can be open, so it need not be fenced."""
    world = make_world(1)
    with monkeypatch.context() as patched:

        async def away(*_: object) -> None:
            raise StoreUnavailable("away")

        patched.setattr(world.store, "positions", away)
        with pytest.raises(StoreUnavailable):
            await world.session.run()
    assert not world.session.is_spent
    await world.start()
    assert world.kafka.steps.count("init") == 1
    assert not [step for step in world.kafka.steps if step.startswith("fence")]
    await world.close()


# What a turn takes


async def _taken(world: World, *waiting: int) -> list[int]:
    """How many records of each lane a turn takes, where so many wait."""
    for lane, count in zip(world.lanes, waiting, strict=True):
        one = (await world.store.register([lane.name], Owner(1, "m", "p")))[lane.name]
        assert isinstance(one, Registered)
        world.session._open[lane] = OpenLane(lane, one.token, (0, 0, 0), 0, Hooks())
        lane.run(0)
        world.fetch(lane.name.partition, count)
    return _counts(world)


def _counts(world: World) -> list[int]:
    """How many records of each lane the next turn takes."""
    counts = [0] * len(world.lanes)
    for lane, batch in world.session._take().items():
        counts[batch.lane.partition] = len(batch.records)
        lane.apply(batch.stop)
    return counts


@pytest.mark.parametrize(
    ("waiting", "taken"),
    [
        ([30, 30, 30], [30, 30, 30]),
        ([200, 0, 0], [100, 0, 0]),
        ([200, 1, 2], [97, 1, 2]),
        ([200, 200, 10], [45, 45, 10]),
        ([200, 200, 200], [33, 33, 34]),
        ([200, 40, 200], [34, 33, 33]),
        ([0, 0, 0], [0, 0, 0]),
    ],
    ids=str,
)
async def test_a_turn_takes_from_each_lane_as_much_as_from_the_others(waiting: list[int], taken: list[int]) -> None:
    """Or all that it has: who has few commands never waits behind a flood, and a turn is as full as can be."""
    counts = await _taken(make_world(3), *waiting)
    assert sum(counts) == sum(taken)
    assert sorted(counts) == sorted(taken)
    assert all(count == have for count, have in zip(counts, waiting, strict=True) if have <= min(taken))


async def test_turns_are_small_while_several_channels_have_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood on one of them may hold up another one for a small turn only. Alone, it gets large turns again."""
    monkeypatch.setattr(module, "SHARED_RECORDS", 10)
    world = make_world(2)
    world.lanes[1] = Lane(LaneName(GROUP, f"acme.{TOPIC}", 1), world.lanes[1].inbox, Hooks())
    assert await _taken(world, 95, 2) == [10, 2]
    assert _counts(world) == [10, 0], "a command of the other channel may come soon"
    monkeypatch.setattr(module, "SHARED_SECONDS", 0.0)
    assert _counts(world) == [75, 0]


async def test_turns_are_full_while_many_channels_have_many_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail where all channels together had the small turn of one: half of their capacity was lost."""
    monkeypatch.setattr(module, "SHARED_RECORDS", 10)
    world = make_world(20)
    for at, lane in enumerate(world.lanes):
        world.lanes[at] = Lane(LaneName(GROUP, f"c{at % 10}.{TOPIC}", at), lane.inbox, Hooks())
    assert await _taken(world, *[50] * 20) == [5] * 20


async def test_large_records_take_turns_while_several_channels_have_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each turn has as many of them as fit, and the lanes that had to wait come first the next time."""
    monkeypatch.setattr(module, "SHARED_BYTES", 40_000)
    world = make_world(4)
    world.lanes[3] = Lane(LaneName(GROUP, f"acme.{TOPIC}", 3), world.lanes[3].inbox, Hooks())
    await _taken(world, 1, 1, 1, 1)
    for partition in range(3):
        inbox, start = world.lanes[partition].inbox, world.lanes[partition].inbox.fetch_offset
        large = [command_at(partition, start + at)._replace(value=b"x" * 30_000) for at in range(90)]
        inbox.put(large, start + 90)
    world.fetch(3, 1)
    counts = [_counts(world) for _ in range(3)]
    assert counts[0][3] == 1, "the channel with one command does not wait"
    assert [sum(turn[:3]) for turn in counts] == [1, 1, 1]
    assert [max(turn[lane] for turn in counts) for lane in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(("lanes", "size"), [(6, 60_000), (12, 10_000), (24, 6_000)])
async def test_many_commands_are_not_passed_over_for_few_large_ones(lanes: int, size: int) -> None:
    """A lane that got nothing in a turn comes first in the next one, however much it has.

    Seen to fail: neighbours with few large records took the channel's share of each turn, until the lane was stuck.
    """
    world = make_world(lanes + 1, batch_records=500)
    world.lanes[-1] = Lane(LaneName(GROUP, f"acme.{TOPIC}", lanes), world.lanes[-1].inbox, Hooks())
    *neighbours, many, _ = range(lanes + 1)
    counts = [await _taken(world, *[0] * lanes, 1)]
    world.fetch(many, 400)
    for _ in range(300):
        world.fetch(lanes, 1)
        for partition in neighbours:
            inbox = world.lanes[partition].inbox
            start = inbox.fetch_offset
            more = [command_at(partition, start + at)._replace(value=b"x" * size) for at in range(8 - len(inbox))]
            inbox.put(more, start + len(more))
        counts.append(_counts(world))
    assert sum(turn[many] for turn in counts) == 400


async def test_where_a_turn_is_smaller_than_its_lanes_they_take_turns() -> None:
    """One record each, those first that waited longest."""
    world = make_world(5, batch_records=2)
    first = await _taken(world, 4, 4, 4, 4, 4)
    turns = [first, *(_counts(world) for _ in range(9))]
    assert [sum(turn) for turn in turns] == [2] * 10
    assert [sum(turn[lane] for turn in turns) for lane in range(5)] == [4] * 5
    assert all(sum(turn[lane] for turn in turns[:3]) >= 1 for lane in range(5))


async def test_lanes_share_the_bytes_of_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they share its records; each takes one, however large it is."""
    world = make_world(2)
    await _taken(world, 1, 1)
    monkeypatch.setattr(module, "TURN_BYTES", 40_000)
    for lane in world.lanes:
        start = lane.inbox.fetch_offset
        large = [command_at(0, start + at)._replace(value=b"x" * 5_000) for at in range(9)]
        lane.inbox.put(large, start + 9)
    assert _counts(world) == [2, 2]
    world.lanes[1].inbox.put([command_at(1, 99)._replace(value=b"x" * 100_000)] * 3, 100)
    monkeypatch.setattr(module, "TURN_BYTES", 1)
    assert _counts(world) == [1, 1]


# Turns


async def test_postgres_works_on_a_turn_while_kafka_has_the_one_before() -> None:
    """Never two Kafka parts at once, and no third turn begins meanwhile."""
    world = make_world(1, batch_records=10)
    await world.start()
    world.kafka.going_on.clear()
    world.fetch(0, 20)
    world.fetch(0, 20)
    lane = world.open(0)
    await until(lambda: lane.applied == 20, 10, "the second turn is in Postgres")
    await asyncio.sleep(0.1)
    assert (lane.applied, lane.emitted) == (20, 0)
    world.kafka.going_on.set()
    await world.until_out(40)
    assert world.kafka.most_at_once == 1
    assert [offset for turn in world.kafka.turns for offset in turn[0]] == [*range(40)]
    await world.close()


async def test_envelopes_of_the_next_turn_are_opened_while_postgres_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of each lane, as many as a turn takes, and each once."""
    world = make_world(2, batch_records=4)
    opened, going_on = list[Place](), asyncio.Event()
    process, open_envelope = world.shared.processor.process, world.shared.command_reader.open

    async def held_up(turn: Sequence[Batch]) -> None:
        await going_on.wait()
        await process(turn)

    def noted(_: CommandReader, record: Record) -> Envelope:
        opened.append(record.place)
        return open_envelope(record)

    monkeypatch.setattr(world.shared.processor, "process", held_up)
    monkeypatch.setattr(CommandReader, "open", noted)
    await world.start()
    world.fetch(0, 7)
    world.fetch(1, 3)
    await until(lambda: len(opened) == 7, 10, "the first turn is at work, and what the second will take is open")
    assert sorted(opened) == [*(Place(TOPIC, 0, at) for at in range(4)), *(Place(TOPIC, 1, at) for at in range(3))]
    await asyncio.sleep(0.05)
    assert len(opened) == 7
    going_on.set()
    await world.until_out(7, 3)
    assert sorted(opened) == [*(Place(TOPIC, 0, at) for at in range(7)), *(Place(TOPIC, 1, at) for at in range(3))]
    assert len(world.store.passports) == 10
    await world.close()


async def test_large_envelopes_that_are_opened_ahead_hold_up_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of records of 64 KiB may wait beside a calm channel, whose turn is in Postgres. Each takes 4 ms."""
    world = make_world(1, batch_records=5)
    process, open_envelope = world.shared.processor.process, world.shared.command_reader.open
    looks, looks_before = 0, dict[int, int]()

    async def held_up(turn: Sequence[Batch]) -> None:
        nonlocal looks
        while len(looks_before) < 10:
            looks += 1
            await asyncio.sleep(0)
        await process(turn)

    def slow(_: CommandReader, record: Record) -> Envelope:
        looks_before[record.offset] = looks
        time.sleep(module.AHEAD_SECONDS)
        return open_envelope(record)

    monkeypatch.setattr(world.shared.processor, "process", held_up)
    monkeypatch.setattr(CommandReader, "open", slow)
    await world.start()
    world.fetch(0, 10)
    await world.until_out(10)
    ahead = [looks_before[offset] for offset in range(5, 10)]
    assert all(before < after for before, after in pairwise(ahead)), ahead
    await world.close()


async def test_at_a_stop_the_kafka_part_in_flight_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where so many commands wait that the next turn would begin without it."""
    world = make_world(1, batch_records=10)
    await world.start()
    process = world.shared.processor.process

    async def closing(turn: Sequence[Batch]) -> None:
        await process(turn)
        world.session.close()
        asyncio.get_running_loop().call_later(0.05, world.kafka.going_on.set)

    monkeypatch.setattr(world.shared.processor, "process", closing)
    world.kafka.going_on.clear()
    world.fetch(0, 20)
    assert world.task is not None
    await asyncio.wait_for(world.task, 10)
    assert world.kafka.committed_offsets == {0: 10}


def _refuse(turn: Sequence[Batch]) -> None:
    """As the processor, where a turn is too large."""
    for batch in turn:
        batch.error = BatchTooLarge()


async def test_what_is_too_much_at_once_comes_again_in_smaller_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Down to what goes through, in order; and then turns grow again."""
    world = make_world(3)
    process, sizes = world.shared.processor.process, list[int]()

    async def narrow(turn: Sequence[Batch]) -> None:
        sizes.append(sum(len(batch.commands) for batch in turn))
        if sizes[-1] > 5:
            _refuse(turn)
        else:
            await process(turn)

    monkeypatch.setattr(world.shared.processor, "process", narrow)
    await world.start()
    for partition in range(3):
        world.fetch(partition, 40)
    await world.until_out(40, 40, 40)
    assert sizes[:3] == [100, 25, 6]
    assert max(size for size in sizes if size <= 5) > 2
    for partition in range(3):
        assert [one for turn in world.kafka.turns for one in turn.get(partition, [])] == [*range(40)]
    await world.close()


async def test_what_was_too_much_is_seldom_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail while turns doubled up to it: of three that were decoded, each third was thrown away."""
    world = make_world(1)
    process, sizes = world.shared.processor.process, list[int]()

    async def narrow(turn: Sequence[Batch]) -> None:
        sizes.append(len(turn[0].commands))
        if sizes[-1] > 95:
            _refuse(turn)
        else:
            await process(turn)

    monkeypatch.setattr(world.shared.processor, "process", narrow)
    await world.start()
    world.fetch(0, 5_000)
    await world.until_out(5_000)
    await world.close()
    in_vain = [size for size in sizes if size > 95]
    assert len(in_vain) < len(sizes) / 10
    assert sum(sizes) < 1.15 * 5_000


async def test_a_failed_fetch_opens_the_lane_again_though_records_wait() -> None:
    """They may not follow on what was lost, so none of them is answered before the lane has opened again."""
    world = make_world(1)
    await world.start()
    lane = world.lanes[0]
    opened = lane.inbox.restarts
    world.fetch(0, 3)
    lane.inbox.fail("out of range")
    await world.until(lambda: lane.state is LaneState.RUNNING and lane.inbox.restarts > opened)
    assert (world.kafka.turns, len(lane.inbox), lane.inbox.fetch_offset) == ([], 0, 0)
    await world.close()


async def test_too_much_at_once_is_told_of_each_batch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail while each lane told of it again, on the spans of all, of which some had ended."""
    spans = spans_in_memory()
    world = make_world(3, hooks=spans.tracing)
    process, is_first = world.shared.processor.process, [True]

    async def once_too_much(turn: Sequence[Batch]) -> None:
        if is_first and is_first.pop():
            _refuse(turn)
        else:
            await process(turn)

    monkeypatch.setattr(world.shared.processor, "process", once_too_much)
    await world.start()
    for partition in range(3):
        world.fetch(partition, 2)
    await world.until_out(2, 2, 2)
    await world.close()
    assert [events(span) for span in spans.named("process")[:3]] == [[("batch_too_large", {})]] * 3


async def test_a_lane_that_is_lost_in_the_middle_leaves_the_others_at_work() -> None:
    """Somebody else took it: none of its commands is answered here."""
    world = make_world(3)
    await world.start()
    await world.store.register([world.lanes[1].name], Owner(9, "newer", "theirs"))
    for partition in range(3):
        world.fetch(partition, 2)
    await world.until_out(2, 0, 2)
    assert world.lanes[1].state is LaneState.LOST
    world.fetch(0, 2)
    await world.until_out(4, 0, 2)
    assert all(1 not in turn for turn in world.kafka.turns)
    await world.close()


async def test_the_next_session_waits_for_a_lost_lane_as_long_as_the_one_before() -> None:
    """Seen to fail: after a failure of the session, the worker took the lane back at once."""
    world = make_world(2)
    await world.start()
    await world.store.register([world.lanes[1].name], Owner(1, "another", "theirs"))
    world.fetch(1, 2)
    await world.until(lambda: world.lanes[1].state is LaneState.LOST)
    await world.close()
    due_at = world.lanes[1].due_at
    world.lanes[0].reopen("as after a failure")
    world.session = world.another()
    world.begin()
    await world.until_running(0)
    world.fetch(0, 2)
    await world.until_out(2, 0)
    assert (world.lanes[1].state, world.lanes[1].due_at) == (LaneState.LOST, due_at)
    await world.close()


async def test_a_lane_that_the_database_refuses_is_named_after_the_others_are_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their results were decided, and are emitted before the session ends."""
    world = make_world(3)
    process = world.shared.processor.process

    async def process_others(turn: Sequence[Batch]) -> None:
        await process([batch for batch in turn if batch.lane.partition != 1])
        for batch in turn:
            if batch.lane.partition == 1:
                batch.error = StoreUnavailable("locks")

    monkeypatch.setattr(world.shared.processor, "process", process_others)
    await world.start()
    for partition in range(3):
        world.fetch(partition, 2)
    assert world.task is not None
    with pytest.raises(LanesFailed, match=f"{TOPIC}/1: locks") as caught:
        await asyncio.wait_for(world.task, 10)
    assert caught.value.suspects == {(TOPIC, 1)}
    assert world.kafka.committed_offsets == {0: 2, 2: 2}


async def test_a_lane_whose_results_have_no_leader_waits_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where, reads on within its bounds, and goes on when there is one."""
    monkeypatch.setattr(opening_module, "LEADER_SECONDS", 0.05)
    world = make_world(2)
    await world.start()
    world.kafka.leaderless = {0}
    for partition in range(2):
        world.fetch(partition, 2)
    await world.until_out(0, 2)
    await until(lambda: world.lanes[0].state is LaneState.WAITING, 10, "it waits")
    assert world.lanes[0].reason == "its results cannot be emitted: created/0 has no leader"
    assert world.lanes[0].wants_records
    world.kafka.leaderless = set()
    await world.until_out(2, 2)
    assert world.lanes[0].state is LaneState.RUNNING
    await world.close()


async def test_a_token_of_an_unknown_key_holds_up_its_lane_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ten seconds at most; then it is refused, for as long as the key server is away. Seen to wait for good before."""
    monkeypatch.setattr(module, "KEYS_SECONDS", 0.02)
    clock = Clock()
    source = JwksSource(str(tmp_path / "nothing"), clock)
    world = make_world(2)
    reader = CommandReader(Limits(), TokenVerifier(source, ISSUER, AUDIENCE, "company_id"))
    world.shared = replace(world.shared, command_reader=reader)
    world.session = world.another()
    await world.start()
    invented = f"Bearer {token(ec.generate_private_key(ec.SECP256R1()), 'ES256', 'invented')}".encode()
    for offset in (0, 2):
        headers: list[Header] = [("authorization", invented)]
        world.lanes[0].inbox.put(
            [command_at(0, offset)._replace(headers=headers), command_at(0, offset + 1)], offset + 2
        )
        world.fetch(1, 1)
        if offset == 0:
            await world.until_out(0, 1)
            assert world.lanes[0].state is LaneState.WAITING
            assert "waiting for OAuth keys" in world.lanes[0].reason
            clock.seconds += jwks.WAIT_SECONDS
        await world.until_out(offset + 2, -1)
    ledger = world.store._lanes[world.lanes[0].name].ledger
    assert [b"keys-unavailable" in ledger[offset].value for offset in range(4)] == [True, False, True, False]
    await world.close()


async def test_after_doubt_the_next_session_fences_this_one_and_emits_again() -> None:
    """What was applied is in the ledger: nothing is lost, nothing decided twice, nothing out twice."""
    world = make_world(2)
    await world.start()
    world.kafka.failing = [EmissionFailed("doubt", [1])]
    for partition in range(2):
        world.fetch(partition, 2)
    assert world.task is not None
    with pytest.raises(EmissionFailed):
        await asyncio.wait_for(world.task, 10)
    assert (world.session.is_spent, world.session.emitter.is_open) == (True, True)
    doubtful, world.session = world.session, world.another()
    await world.start()
    await world.until_out(2, 2)
    assert f"fence {doubtful.id}" in world.kafka.steps
    assert world.kafka.turns == [{0: [0, 1], 1: [0, 1]}]
    assert len(world.store.passports) == 4
    await world.close()


async def test_a_kafka_part_in_flight_ends_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those results were decided; nobody could register, fence and emit them again until the database is back.

    Seen to fail where the part in flight was cut off.
    """
    world = make_world(1, batch_records=10)
    await world.start()
    process = world.shared.processor.process

    async def away_later(turn: Sequence[Batch]) -> None:
        if turn[0].start:
            world.kafka.going_on.set()
            raise StoreUnavailable("away")
        await process(turn)

    monkeypatch.setattr(world.shared.processor, "process", away_later)
    world.kafka.going_on.clear()
    world.fetch(0, 20)
    assert world.task is not None
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(world.task, 10)
    assert (world.kafka.committed_offsets, world.session.emitter.is_open) == ({0: 10}, False)


async def test_a_lane_whose_fetches_do_not_follow_is_placed_again_at_once() -> None:
    """Beside the others, and while nothing else happens."""
    world = make_world(2)
    await world.start()
    world.fetch(0, 3)
    await world.until_out(3, 0)
    world.kafka.begun.clear()
    world.lanes[0].inbox.fail("expected the consumer at 3, found it at 9")
    await until(lambda: world.kafka.begun == {0: 3}, 10, "it begins where it stands")
    assert world.lanes[0].state is LaneState.RUNNING
    await world.close()


async def test_a_lane_whose_fetches_keep_failing_is_placed_more_and_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch may be damaged, or Read taken from one topic. The first time it is placed at once. Answers end it.

    Seen to fail: it opened again and again without a pause, each time in front of the turns of the others.
    """
    world = make_world(2)
    await world.start()
    begin_at, begun = world.kafka.begin_at, list[float]()

    def fail(partition: TopicPartition, offset: int) -> None:
        begun.append(asyncio.get_running_loop().time())
        begin_at(partition, offset)
        world.lanes[0].inbox.fail("fetching failed")

    with monkeypatch.context() as patched:
        patched.setattr(world.kafka, "begin_at", fail)
        world.lanes[0].inbox.fail("fetching failed")
        await until(lambda: len(begun) >= 6, 10, "it is placed again and again")
        pauses = [later - earlier for earlier, later in pairwise(begun)]
        assert pauses[-1] > 0.5
        assert pauses == sorted(pauses)
        world.fetch(1, 3)
        await world.until_out(-1, 3)
    await world.until_running(0)
    world.fetch(0, 1)
    await world.until_out(1, 3)
    assert world.lanes[0].pause_seconds == 0.0
    await world.close()


async def test_idle_lanes_note_what_is_out_while_others_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail: a session that never rested noted nothing. The days of those answers were kept for too long."""
    monkeypatch.setattr(module, "NOTE_SECONDS", 0.2)
    world = make_world(2)
    await world.start()
    world.fetch(0, 3)
    await world.until_out(3, 0)
    async with asyncio.timeout(10):
        while world.open(0).noted != 3:
            world.fetch(1, 1)
            await asyncio.sleep(0.02)
    await world.close()


async def test_idle_lanes_note_what_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the day that Kafka forgets the group's offsets; and once more when the session closes."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    world = make_world(2)
    await world.start()
    world.fetch(0, 3)
    await world.until_out(3, 0)
    await until(lambda: world.open(0).noted == 3, 10, "it is noted")
    lanes = [world.open(partition).token for partition in range(2)]
    assert [one and one.emitted for one in (await world.store.positions(lanes)).values()] == [3, 0]
    monkeypatch.setattr(module, "IDLE_SECONDS", 30.0)
    world.fetch(1, 2)
    await world.until_out(3, 2)
    await world.close()
    assert [one and one.emitted for one in (await world.store.positions(lanes)).values()] == [3, 2]


async def test_a_resting_lane_notes_what_is_out_beside_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail: a lane without a leader is due each second, so no rest lasted long enough."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr("worker.stream.opening.LEADER_SECONDS", 0.1)
    world = make_world(2)
    await world.start()
    world.kafka.leaderless = {1}
    world.fetch(0, 3)
    world.fetch(1, 1)
    await world.until_out(3)
    await until(lambda: world.open(0).noted == 3, 10, "it is noted")
    await world.close()


async def test_closing_waits_for_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notes are a help for later; without them the session ends as well."""
    world = make_world(1)
    await world.start()
    world.fetch(0, 1)
    await world.until_out(1)

    async def away(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(world.store, "mark_emitted", away)
    await world.close()


async def test_a_lane_that_was_idle_beside_a_busy_one_is_not_taken_for_stuck() -> None:
    """Seen to fail while only a session without any news touched it: its first command found it hours old."""
    world = make_world(2)
    await world.start()
    idle = world.lanes[1]
    idle.progressed_at = 0.0
    world.fetch(0, 1)
    await world.until_out(1, 0)
    world.fetch(0, 1)
    await world.until_out(2, 0)
    assert idle.progressed_at > 0
    await world.close()


@pytest.mark.parametrize("end", ["closed", "cut off"])
async def test_an_opening_ends_with_its_session(end: str) -> None:
    """Seen to fail: the next opening of the lane by this worker went on with its span, hours later."""
    spans = spans_in_memory()
    world = make_world(1, hooks=spans.tracing)
    await world.store.register([world.lanes[0].name], Owner(0, "before", "theirs"))
    world.kafka.fencing.clear()
    world.begin()
    await world.until(lambda: "fence theirs" in world.kafka.steps)
    if end == "closed":
        await world.close()
    else:
        assert world.task is not None
        world.task.cancel()
        await asyncio.wait([world.task])
    assert [span.name for span in spans.all()] == [f"open {world.lanes[0].name.topic}"]


@pytest.mark.parametrize("is_committed", [True, False], ids=["committed", "aborted"])
async def test_results_of_a_doubtful_commit_count_once(monkeypatch: pytest.MonkeyPatch, is_committed: bool) -> None:
    """Seen to fail: where Kafka had committed and only its answer was lost, nobody counted them.

    These are the ones that took long: the objective did not see them.
    """
    visible: list[int] = []

    class Counts(Hooks):
        def visible(self, appended_ms: Sequence[Sequence[int]]) -> None:
            visible.extend(moment for batch in appended_ms for moment in batch)

    world = make_world(1, hooks=Counts())
    await world.start()
    emit, doubts = world.kafka.emit, [EmissionFailed("no answer to EndTxn")]

    async def emit_in_doubt(batches: Sequence[Sent]) -> None:
        if not doubts or is_committed:
            await emit(batches)
        if doubts:
            raise doubts.pop()

    monkeypatch.setattr(world.kafka, "emit", emit_in_doubt)
    world.fetch(0, 3)
    assert world.task is not None
    with pytest.raises(EmissionFailed):
        await asyncio.wait_for(world.task, 10)
    world.lanes[0].reopen("doubt")  # as `Sessions` does
    world.session = world.another()
    await world.start()
    await world.until_out(3)
    assert len(visible) == 3
    await world.close()
