"""The watch over the command topic's identity: what a doubt holds up, and for how long."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from tests.workbench import until
from worker.store.port import TopicIdentity
from worker.stream.cluster import topic_watch
from worker.stream.cluster.topic_watch import TopicWatch

TOPIC, OTHER = "commands", "acme.commands"
FIRST, SECOND = TopicIdentity("cluster", "first"), TopicIdentity("cluster", "second")


class _Cluster:
    """Answers when it is allowed to."""

    def __init__(self) -> None:
        self.identity_now: TopicIdentity | None = FIRST
        self.other: TopicIdentity | KafkaError = FIRST
        self.answers = asyncio.Event()
        self.answers.set()

    async def identities(self, topics: Collection[str]) -> dict[str, TopicIdentity | KafkaError | None]:
        await self.answers.wait()
        now = self.identity_now or UnknownTopicOrPartitionError(TOPIC)
        return {topic: now if topic == TOPIC else self.other for topic in topics}


class _Scene:
    def __init__(self) -> None:
        self.cluster, self.changes = _Cluster(), list[str]()
        self.client = SimpleNamespace(force_metadata_update=lambda: None)
        self.watch = TopicWatch(cast(Any, self.cluster), [TOPIC, OTHER], cast(Any, self.client), self._note)

    def _note(self, topic: str) -> None:
        self.changes.append(topic)


@asynccontextmanager
async def _scene() -> AsyncIterator[_Scene]:
    scene = _Scene()
    await scene.watch.begin()
    task = asyncio.create_task(scene.watch.watch())
    try:
        yield scene
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_topic_without_doubts_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked."""
    monkeypatch.setattr(topic_watch, "HOLD_SECONDS", 60.0)
    async with _scene() as scene:
        scene.cluster.answers.clear()
        async with asyncio.timeout(10.0):
            assert await scene.watch.may_use(TOPIC)


@pytest.mark.parametrize("now", [SECOND, None], ids=["made anew", "gone"])
async def test_records_that_were_fetched_in_doubt_wait_for_the_answer(now: TopicIdentity | None) -> None:
    """They are another topic's, perhaps; and then the lanes are told."""
    async with _scene() as scene:
        scene.cluster.identity_now = now
        scene.client.force_metadata_update()
        assert not await scene.watch.may_use(TOPIC)
        assert await scene.watch.may_use(OTHER)
        assert scene.changes == [TOPIC]
        assert scene.watch.gone == ([TOPIC] if now is None else [])


async def test_a_doubt_that_is_unfounded_is_forgotten() -> None:
    """As after a connection that broke."""
    async with _scene() as scene:
        scene.client.force_metadata_update()
        assert await scene.watch.may_use(TOPIC)
        assert not scene.changes


async def test_an_answer_that_is_late_holds_records_up_for_a_moment_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that hangs has the question, and lanes that need nothing of it go on. The answer still counts.

    Seen to fail while each poll waited for it: 10 s in the median.
    """
    async with _scene() as scene:
        scene.cluster.answers.clear()
        scene.cluster.identity_now = SECOND
        scene.client.force_metadata_update()
        async with asyncio.timeout(10.0):
            assert await scene.watch.may_use(TOPIC)
        monkeypatch.setattr(topic_watch, "HOLD_SECONDS", 60.0)
        async with asyncio.timeout(10.0):
            assert await scene.watch.may_use(TOPIC)
        scene.cluster.answers.set()
        await until(lambda: scene.changes == [TOPIC], 10.0, "the lanes are told")


async def test_a_topic_that_may_not_be_described_hides_no_change_of_another_one() -> None:
    """A right was taken away, perhaps. Seen to fail before: no topic was watched any more, without a word."""
    async with _scene() as scene:
        scene.cluster.other, scene.cluster.identity_now = TopicAuthorizationFailedError(OTHER), SECOND
        scene.client.force_metadata_update()
        assert not await scene.watch.may_use(TOPIC)
        assert await scene.watch.may_use(OTHER)
        assert scene.changes == [TOPIC]


async def test_a_worker_does_not_begin_with_a_topic_that_may_not_be_described() -> None:
    """It could not tell later whether that topic is the one of before."""
    scene = _Scene()
    scene.cluster.other = TopicAuthorizationFailedError(OTHER)
    with pytest.raises(TopicAuthorizationFailedError):
        await scene.watch.begin()
