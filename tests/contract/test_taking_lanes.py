"""How operators' verbs take lanes out of the hands of workers, and move them (`worker.tools.lanes.taking_lanes`)."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from tests.contract.world import OPEN, TOPIC, Lane, ask, fence
from worker.store.port import FencingToken, LaneName, LostLane, Owner, Position, Registered
from worker.store.postgres import PostgresStore
from worker.store.sql import Connection
from worker.tools.lanes.taking_lanes import move_applied, raise_epochs

GROUP = "group"


@pytest_asyncio.fixture
async def operator(furnished_url: str) -> AsyncIterator[Connection]:
    """The session of a verb."""
    connection = await asyncpg.connect(furnished_url)
    yield connection
    await connection.close()


async def _position(postgres: PostgresStore, token: FencingToken) -> Position | None:
    return (await postgres.positions([token]))[token]


async def test_no_worker_writes_for_a_lane_that_was_taken(postgres: PostgresStore, operator: Connection) -> None:
    """None of the lanes of the group on the topic; whoever took them writes in its place."""
    first, second = [await Lane.open(postgres, partition) for partition in range(2)]
    await first.process(ask(OPEN, 1, "before"))
    taken = await raise_epochs(operator, GROUP, TOPIC)
    for lane in (first, second):
        with pytest.raises(LostLane):
            await lane.process(ask(OPEN, 1, "after"))
        assert await postgres.positions([lane.token]) == {}
        assert await postgres.list_only([lane.token], "producer") == set()
    assert {at: one.producers for at, one in taken.items()} == {0: {"producer"}, 1: {"producer"}}
    ours = Lane(postgres, taken[0].token, first.applied, first.processor)
    assert await ours.verdicts(ask(OPEN, 1, "ours")) == ["created"]


async def test_members_of_the_group_may_have_their_lanes_again(postgres: PostgresStore, operator: Connection) -> None:
    """The generation stays, so they register without force; then the verb has lost the lane."""
    lane = await Lane.open(postgres)
    taken = (await raise_epochs(operator, GROUP, TOPIC))[0].token
    again = (await postgres.register([lane.token.name], Owner(1, "member", "next")))[lane.token.name]
    assert isinstance(again, Registered)
    assert again.producers == {"producer"}
    assert lane.token.epoch < taken.epoch < again.token.epoch
    assert await postgres.positions([taken]) == {}


async def test_lanes_of_others_are_left_alone(postgres: PostgresStore, operator: Connection) -> None:
    """Those of another group, and those on another topic."""
    names = [LaneName("another group", TOPIC, 0), LaneName(GROUP, "another topic", 0)]
    tokens = [await fence(postgres, name) for name in names]
    assert await raise_epochs(operator, GROUP, TOPIC) == {}
    assert (await postgres.positions(tokens)).keys() == {*tokens}


async def test_a_lane_is_moved_by_whoever_holds_it_and_from_where_it_stands(
    postgres: PostgresStore, operator: Connection
) -> None:
    """A verb that slept finds the lane taken or moved by a worker, and changes nothing."""
    lane = await Lane.open(postgres)
    await lane.process(ask(OPEN, 1, "first"), ask(OPEN, 1, "second"))
    slept = (await raise_epochs(operator, GROUP, TOPIC))[0].token
    ours = (await raise_epochs(operator, GROUP, TOPIC))[0].token
    for token, applied in ((slept, 2), (lane.token, 2), (ours, 1)):
        with pytest.raises(LostLane):
            await move_applied(operator, token, applied, 9)
        assert await _position(postgres, ours) == Position(2, 0, 0)
    await move_applied(operator, ours, 2, 9)
    assert await _position(postgres, ours) == Position(9, 0, 0)
