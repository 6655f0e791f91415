"""Membership of the group without servers: which partitions it knows, and when it ends because a session ended."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio
from aiokafka.structs import TopicPartition

from tests.workbench import until
from worker.observability.hooks import Hooks
from worker.settings import Settings
from worker.store.port import LaneName
from worker.stream import group
from worker.stream.background import StrayCancellation
from worker.stream.dependencies import LaneDependencies
from worker.stream.group import GroupMembership
from worker.stream.inbox import Budget, Inbox
from worker.stream.lane import Lane

SETTINGS = Settings()
TOPIC = SETTINGS.topic_commands


@pytest_asyncio.fixture
async def membership() -> GroupMembership:
    """One that has never asked a broker; it holds partition 3."""
    shared = SimpleNamespace(settings=SETTINGS, hooks=Hooks(), cluster=None)
    membership = GroupMembership(cast(LaneDependencies, shared))
    lane = Lane(LaneName(SETTINGS.group_id, TOPIC, 3), Inbox(10, Budget(1024)), Hooks())
    membership.lanes[TopicPartition(TOPIC, 3)] = lane
    return membership


@pytest.mark.parametrize(
    ("told", "partitions"),
    [({0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}), ({0, 1}, {0, 1, 3}), (None, {3})],
    ids=["whole", "older than the lanes", "none yet"],
)
async def test_it_names_the_partitions_of_other_workers_too(
    membership: GroupMembership, monkeypatch: pytest.MonkeyPatch, told: set[int] | None, partitions: set[int]
) -> None:
    """Commits that were lost on any of them halt every lane, so all of them are asked about."""
    monkeypatch.setattr(membership._consumer, "partitions_for_topic", {TOPIC: told}.get)
    assert set(membership.all_partitions()) == {(TOPIC, partition) for partition in partitions}


async def _return() -> None:
    pass


async def _fail() -> None:
    raise KeyError("a defect")


async def _cancel() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("end", "error", "text"),
    [(_return, RuntimeError, "lanes 3 ended"), (_fail, KeyError, "a defect"), (_cancel, StrayCancellation, "lanes 3")],
    ids=["returned", "failed", "cancelled"],
)
@pytest.mark.parametrize("is_waiting", [True, False], ids=["with records to read", "with nothing to read"])
async def test_it_ends_when_a_session_has_ended(
    membership: GroupMembership,
    monkeypatch: pytest.MonkeyPatch,
    end: Any,
    error: type[Exception],
    text: str,
    is_waiting: bool,
) -> None:
    """Its partitions would be assigned to a worker that never answers their commands."""
    living, ended = asyncio.create_task(asyncio.sleep(60)), asyncio.create_task(end(), name="lanes 3")
    membership._sessions = cast(Any, SimpleNamespace(tasks=[living, ended]))
    await asyncio.wait([ended])

    async def poll(*_: object) -> None:
        await asyncio.sleep(0.01)

    monkeypatch.setattr(membership._reader, "poll", poll)
    monkeypatch.setattr(group, "check_membership", lambda _: None)
    if is_waiting:
        membership.lanes[TopicPartition(TOPIC, 3)].run(0)
    try:
        with pytest.raises(error, match=text):
            await asyncio.wait_for(membership._read_until_stopped(), 10)
    finally:
        living.cancel()


@pytest.mark.parametrize("reason", [None, "Postgres was restored"])
async def test_lost_commits_are_looked_for_while_lanes_work(
    membership: GroupMembership, monkeypatch: pytest.MonkeyPatch, reason: str | None
) -> None:
    """Each opens anew and halts, whoever's commits are lost; a look that fails is repeated.

    Seen to fail while only an opening lane looked: a worker that was left on the old primary went on.
    """
    looks: list[str | Exception | None] = [TimeoutError(), None, reason]

    async def look(*_: object) -> str | None:
        found = looks.pop(0) if looks else reason
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(group, "LOST_COMMITS_SECONDS", 0.01)
    monkeypatch.setattr(group, "look_for_lost_commits", look)
    (lane,) = membership.lanes.values()
    watching = asyncio.create_task(membership._watch_for_lost_commits())
    await asyncio.sleep(0.05)
    assert len(looks) == 3, "a lane that is not at work needs no look"
    lane.run(0)
    await until(lambda: not looks, 5, "it looks")
    await asyncio.sleep(0.05)
    watching.cancel()
    assert lane.inbox.failure == (None if reason is None else f"lost commits: {reason}")


class _Sessions:
    """Those of a lane whose turn takes a while to end."""

    tasks: tuple[()] = ()

    def __init__(self, steps: list[str]) -> None:
        self._steps = steps

    async def close(self) -> None:
        await asyncio.sleep(0.1)
        self._steps.append("closed")

    async def fence_cut_off(self) -> None:
        self._steps.append("fenced")


async def test_a_stop_in_the_middle_of_a_rebalance_waits_for_the_lanes_that_the_rebalance_closes(
    membership: GroupMembership, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And fences what was cut off. Seen to fail: the member left at once, and lanes were neither closed nor fenced."""
    steps: list[str] = []

    async def nothing(*_: object) -> None:
        pass

    async def leave() -> None:
        steps.append("left")

    for owner, name, stand_in in (
        (membership.topic_watch, "begin", nothing),
        (membership._consumer, "start", nothing),
        (membership._consumer, "stop", leave),
        (membership._consumer, "subscribe", lambda *_, **__: None),
        (group, "pause_after_fetches", lambda _: None),
        (group, "check_membership", lambda _: None),
    ):
        monkeypatch.setattr(owner, name, stand_in)
    membership._sessions = cast(Any, _Sessions(steps))
    running = asyncio.create_task(membership.run())
    await asyncio.sleep(0.01)
    rebalance = asyncio.create_task(membership.on_partitions_revoked([]))
    await asyncio.sleep(0.01)
    membership.stop()
    await running
    assert steps == ["closed", "fenced", "left"]
    await rebalance
