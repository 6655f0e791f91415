"""Who opens lanes: epochs, and the list of producers to fence; each test runs on both stores unless it needs two."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from typing import Any, TypeVar

import asyncpg
import pytest
import pytest_asyncio

from tests.contract.world import OPEN, TOPIC, Lane, ask, processor_of
from worker.batch.batch import Batch
from worker.store.port import (
    ExpectedPosition,
    FencingToken,
    LaneName,
    LostLane,
    NewerOwner,
    Owner,
    Position,
    Registered,
    Store,
)
from worker.store.postgres import PostgresStore
from worker.store.sql import Connection
from worker.tools.lanes.taking_lanes import move_applied

T = TypeVar("T")

NAME, SECOND, THIRD = NAMES = tuple(LaneName("group", TOPIC, partition) for partition in range(3))


def _owner(producer: str, generation: int = 1) -> Owner:
    return Owner(generation, f"member of {producer}", producer)


async def _register(
    store: Store, producer: str, *names: LaneName, generation: int = 1, force: bool = False
) -> list[Registered | NewerOwner]:
    """What became of the lanes, in order; of the first one where none is named."""
    found = await store.register(names or [NAME], _owner(producer, generation), force=force)
    assert found.keys() == {*(names or [NAME])}
    return [found[name] for name in names or [NAME]]


async def _to_fence(store: Store, producer: str) -> set[str]:
    """Whom the owner of the first lane has to fence."""
    (registered,) = await _register(store, producer)
    assert isinstance(registered, Registered)
    return set(registered.producers)


def _tokens(found: Collection[Registered | NewerOwner]) -> list[FencingToken]:
    return [one.token for one in found if isinstance(one, Registered)]


# Register


async def test_the_first_owner_has_nobody_to_fence(store: Store) -> None:
    """Its own id is in the row, and is not among those of others."""
    assert await _to_fence(store, "a") == set()


async def test_the_list_grows_by_everybody_who_did_not_get_to_the_end(store: Store) -> None:
    """Three owners: the second died before it had fenced the first, so the third has to fence both.

    Remembering the last owner alone doubled results in the model.
    """
    assert await _to_fence(store, "a") == set()
    assert await _to_fence(store, "b") == {"a"}
    assert await _to_fence(store, "c") == {"a", "b"}
    assert await _to_fence(store, "d") == {"a", "b", "c"}


async def test_who_registers_again_does_not_fence_itself(store: Store) -> None:
    """An opening that failed is repeated with the same id: the others are still to be fenced, and it is listed once."""
    await _to_fence(store, "a")
    first, again = await _register(store, "b") + await _register(store, "b")
    assert isinstance(first, Registered)
    assert isinstance(again, Registered)
    assert again.token.epoch > first.token.epoch
    assert first.producers == again.producers == {"a"}
    assert await store.list_only([first.token], "b") == set()
    assert await store.list_only([again.token], "b") == {again.token}
    assert await _to_fence(store, "c") == {"b"}


async def test_an_older_generation_adds_nothing_to_the_list(store: Store) -> None:
    """It was turned away, so it emits nothing: neither epoch nor owner nor list change."""
    (token,) = _tokens(await _register(store, "new", generation=7))
    assert await _register(store, "old", generation=6) == [NewerOwner(7, "member of new")]
    assert await store.positions([token]) == {token: None}
    assert await store.list_only([token], "new") == {token}
    (registered,) = await _register(store, "newer", generation=8)
    assert isinstance(registered, Registered)
    assert registered == Registered(FencingToken(NAME, token.lane_id, token.epoch + 1, "newer"), frozenset({"new"}))


async def test_force_keeps_the_list(store: Store) -> None:
    """A group that was reset counts from 1 again; what the last owner left open has to be fenced all the same."""
    await _register(store, "old", generation=7)
    (registered,) = await _register(store, "reset", generation=1, force=True)
    assert isinstance(registered, Registered)
    assert registered.producers == {"old"}
    assert await _register(store, "late", generation=0) == [NewerOwner(1, "member of reset")]


async def test_an_epoch_that_comes_again_gives_nobody_the_lane_back(postgres: PostgresStore) -> None:
    """After lost commits a lane counts on from an older epoch; a worker of before must not take it for its own.

    Seen to fail while the epoch alone was compared.
    """
    before = await _register(postgres, "before")
    (token,) = _tokens(before)
    await postgres.start_lane(token, 0)
    async with postgres.session() as connection:
        await connection.execute("UPDATE lane SET epoch = epoch - 1, producers = '{}'")  # as a restore does
    (again,) = _tokens(await _register(postgres, "after"))
    assert (again.lane_id, again.epoch) == (token.lane_id, token.epoch)
    assert await postgres.positions([token]) == {}
    assert await postgres.list_only([token], "before") == set()
    with pytest.raises(LostLane):
        await postgres.start_lane(token, 3)
    with pytest.raises(LostLane):
        async with postgres.transaction([ExpectedPosition(token, 0, 0)]):
            pytest.fail("a lane that is somebody else's")
    with pytest.raises(LostLane):
        async with postgres.session() as connection:
            await move_applied(connection, token, 0, 7)
    await postgres.mark_emitted({token: 0})
    assert await postgres.positions([again]) == {again: Position(0, 0, 0)}
    assert await postgres.list_only([again], "after") == {again}


async def test_several_lanes_are_registered_at_once(store: Store) -> None:
    """Each with its own epoch and list; those of a newer generation are told and left alone, new ones are made."""
    await _register(store, "a", NAME)
    await _register(store, "b", NAME, SECOND, generation=3)
    first, second, third = await _register(store, "c", *NAMES, generation=2)
    assert (first, second) == (NewerOwner(3, "member of b"), NewerOwner(3, "member of b"))
    assert isinstance(third, Registered)
    assert (third.token.name, third.token.epoch, third.producers) == (THIRD, 1, frozenset())
    forced = await _register(store, "c", *NAMES, generation=2, force=True)
    assert [one.producers for one in forced if isinstance(one, Registered)] == [{"a", "b"}, {"b"}, set()]
    assert len({token.lane_id for token in _tokens(forced)}) == 3


async def test_nothing_is_registered_where_nothing_is_asked(store: Store) -> None:
    """A session whose lanes are all registered asks for none."""
    assert await store.register([], _owner("a")) == {}
    assert await store.list_only([], "a") == set()
    assert await store.positions([]) == {}
    await store.mark_emitted({})


# List


async def test_who_has_fenced_the_others_lists_itself_alone(store: Store) -> None:
    """The next owner has to fence it, and nobody before it."""
    await _register(store, "a")
    (token,) = _tokens(await _register(store, "b"))
    assert await store.list_only([token], "b") == {token}
    assert await store.list_only([token], "b") == {token}, "and may say so again"
    assert await _to_fence(store, "c") == {"b"}


async def test_only_lanes_whose_epoch_is_still_ours_are_listed(store: Store) -> None:
    """Who registered meanwhile keeps the list that it saw: it may not have fenced anybody yet."""
    tokens = _tokens(await _register(store, "a", *NAMES))
    (taken,) = _tokens(await _register(store, "b", SECOND))
    assert await store.list_only(tokens, "a") == {tokens[0], tokens[2]}
    lists = [one.producers for one in await _register(store, "c", *NAMES) if isinstance(one, Registered)]
    assert lists == [{"a"}, {"a", "b"}, {"a"}]
    assert await store.list_only([taken], "b") == set()


# Positions and notes of many lanes


async def _standing(store: Store, *applied: int) -> list[FencingToken]:
    """Lanes from offset 0 to these."""
    tokens = _tokens(await _register(store, "a", *NAMES[: len(applied)]))
    for token in tokens:
        await store.start_lane(token, 0)
    async with store.transaction([ExpectedPosition(token, 0, 0) for token in tokens]) as transaction:
        await transaction.record([], [[]] * len(tokens), applied)
    return tokens


async def test_positions_of_lost_lanes_are_missing(store: Store) -> None:
    """Those of the others are there, whatever they are."""
    tokens = [*await _standing(store, 4, 5), *_tokens(await _register(store, "a", THIRD))]
    await _register(store, "b", SECOND)
    assert await store.positions(tokens) == {tokens[0]: Position(4, 0, 0), tokens[2]: None}


async def test_notes_of_many_lanes_come_at_once(store: Store) -> None:
    """Each is raised and never lowered, none passes what was applied, and a lost lane keeps what it has."""
    first, second, third = await _standing(store, 10, 10, 10)
    await store.mark_emitted({third: 3, first: 10, second: 11})
    await store.mark_emitted({first: 4, third: 5})
    (taken,) = _tokens(await _register(store, "b", THIRD))
    await store.mark_emitted({first: 4, second: 6, third: 9})
    assert await store.positions([first, second, taken]) == {
        first: Position(10, 10, 0),
        second: Position(10, 6, 0),
        taken: Position(10, 5, 0),
    }


async def test_a_lost_lane_is_named_with_all_that_are_lost(store: Store) -> None:
    """A turn can go on without them in one more try."""
    tokens = await _standing(store, 0, 0, 0)
    await _register(store, "b", NAME, THIRD)
    with pytest.raises(LostLane) as caught:
        async with store.transaction([ExpectedPosition(token, 0, 0) for token in tokens]):
            pytest.fail("a turn with lanes of somebody else")
    assert caught.value.tokens == {tokens[0], tokens[2]}
    assert str(caught.value) == f"a newer epoch holds {TOPIC}/0 (epoch 1), {TOPIC}/2 (epoch 1)"


# Two workers at once


@pytest_asyncio.fixture
async def watcher(furnished_url: str) -> AsyncIterator[Connection]:
    """A session that looks on, and holds a lane where a test wants it."""
    connection = await asyncpg.connect(furnished_url)
    yield connection
    await connection.close()


async def _waiting(watcher: Connection, sessions: int) -> None:
    """Until that many sessions wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(10):
        while True:
            await watcher.execute("SELECT pg_stat_clear_snapshot()")  # else it sees the same sessions for ever
            if await watcher.fetchval(query) >= sessions:
                return
            await asyncio.sleep(0.005)


async def _made_backwards(store: PostgresStore) -> list[Lane]:
    """Lanes whose ids run against their partitions: those were assigned one after the other, the last one first."""
    lanes = [await Lane.open(store, name.partition, processor_of(store)) for name in reversed(NAMES)]
    assert [lane.token.lane_id for lane in lanes] == sorted(lane.token.lane_id for lane in lanes)
    return lanes[::-1]


async def _beside_a_turn(
    watcher: Connection, lanes: Sequence[Lane], batches: Sequence[Batch], other: Callable[[], Coroutine[Any, Any, T]]
) -> T:
    """What `other` returns, which begins while a turn waits for the second lane, and waits itself until both go on."""
    async with asyncio.timeout(10):
        held = watcher.transaction()
        await held.start()
        await watcher.fetch("SELECT FROM lane WHERE id = $1 FOR UPDATE", lanes[1].token.lane_id)
        turn = asyncio.create_task(lanes[0].processor.process(batches))
        await _waiting(watcher, 1)
        beside = asyncio.create_task(other())
        await _waiting(watcher, 2)
        await held.rollback()
        _, answer = await asyncio.gather(turn, beside)
    return answer


async def test_who_registers_and_who_commits_lock_lanes_in_one_order(
    postgres: PostgresStore, watcher: Connection
) -> None:
    """By ids, although the partitions were made in another order: one waits for the other, and none is a victim.

    Seen to fail without `lock_partitions`: the statement of `register` locked by partitions, and one of the two was
    rolled back for a deadlock.
    """
    lanes = await _made_backwards(postgres)
    batches = [lane.batch(ask(OPEN, 1, f"s{at}")) for at, lane in enumerate(lanes)]
    found = await _beside_a_turn(watcher, lanes, batches, lambda: _register(postgres, "b", *NAMES))
    assert [len(batch.answers) for batch in batches] == [1] * 3
    assert len(_tokens(found)) == 3


async def test_notes_of_lanes_lock_them_in_that_order_as_well(postgres: PostgresStore, watcher: Connection) -> None:
    """However they are named, and whatever plan the database makes of it."""
    lanes = await _made_backwards(postgres)
    for lane in lanes:
        await lane.process(ask(OPEN, 1, f"first{lane.token.lane_id}"))
    batches = [lane.batch(ask(OPEN, 1, f"second{lane.token.lane_id}")) for lane in lanes]
    await _beside_a_turn(watcher, lanes, batches, lambda: postgres.mark_emitted({lane.token: 1 for lane in lanes}))
    assert [len(batch.answers) for batch in batches] == [1] * 3
    standing = await postgres.positions([lane.token for lane in lanes])
    assert list(standing.values()) == [Position(2, 1, 0)] * 3


async def test_who_confirms_locks_lanes_in_that_order_as_well(postgres: PostgresStore, watcher: Connection) -> None:
    """A frozen worker may wake in its turn, while its successor lists itself alone.

    Seen to fail without the locks of `list_only`: it locked the lanes as they were named, and one of the two was rolled
    back for a deadlock.
    """
    lanes = await _made_backwards(postgres)
    batches = [lane.batch(ask(OPEN, 1, f"s{at}")) for at, lane in enumerate(lanes)]
    tokens = [lane.token for lane in lanes]
    ours = await _beside_a_turn(watcher, lanes, batches, lambda: postgres.list_only(tokens, tokens[0].holder))
    assert [len(batch.answers) for batch in batches] == [1] * 3
    assert ours == {*tokens}
    assert lanes[0].processor.failed_at == 0.0, "the turn was the victim, and ran again"


async def test_two_workers_that_begin_new_lanes_at_once_both_get_an_answer(postgres: PostgresStore) -> None:
    """Rows that the one makes are found by the other; whoever comes last has each lane, and both ids are listed."""
    for partition in range(3, 9):
        names = [LaneName("group", TOPIC, at) for at in (partition, partition + 10, partition + 20)]
        async with asyncio.timeout(10):
            await asyncio.gather(*(_register(postgres, producer, *order) for producer, order in _orders(names)))
        for name in names:
            (registered,) = await _register(postgres, "last", name)
            assert isinstance(registered, Registered)
            assert registered.token.epoch == 5
            assert registered.producers == {"a", "b", "c", "d"}


def _orders(names: list[LaneName]) -> list[tuple[str, list[LaneName]]]:
    return [("a", names), ("b", names[::-1]), ("c", names), ("d", names[::-1])]
