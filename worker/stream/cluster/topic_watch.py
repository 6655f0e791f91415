"""Whether the command topic is still the one that the lanes read: its name can be used again."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import UnknownTopicOrPartitionError

from worker.store.port import TopicIdentity
from worker.stream.cluster.connection import Cluster

WATCH_SECONDS = 1.0
RETRY_SECONDS = 0.2
HOLD_SECONDS = 0.5
"""How long records that were fetched in doubt wait for the topic's identity."""

_UNTOLD = TopicIdentity("", "")
"""What is known of a topic before it was asked for, and of every topic where the broker is too old to tell ids."""


class TopicWatch:
    """Notices that there is another topic of this name, or none, and calls `on_change`.

    aiokafka fetches by name, so it would read a topic that was made anew from the old offset on. It cannot get there
    without asking for metadata, upon an error or a connection that broke: that makes the topic doubtful. The cluster is
    asked beside reading. Records that were fetched in doubt wait for the answer, but not for long: a broker that does
    not answer must not hold up the lanes that need nothing of it.
    """

    def __init__(self, cluster: Cluster, topic: str, client: AIOKafkaClient, on_change: Callable[[], None]) -> None:
        """`client` is the one that fetches."""
        self._cluster, self._topic, self._on_change = cluster, topic, on_change
        self._known: TopicIdentity | None = _UNTOLD
        self._doubts = 0
        self._answered = asyncio.Event()
        """Whether the topic's identity was asked for after the last doubt, or is not waited for any more."""
        self._answered.set()
        self._ask = asyncio.Event()
        self._update_metadata = client.force_metadata_update

        def doubt_and_update() -> Any:
            self._doubt()
            return self._update_metadata()

        client.force_metadata_update = doubt_and_update

    @property
    def is_gone(self) -> bool:
        """Whether there was no topic of this name when somebody looked last."""
        return self._known is None

    async def begin(self) -> None:
        """Note which topic it is now. Raises as `Cluster.identity`, but for a topic that is not there."""
        self._known = await self._identity()

    async def may_use(self) -> bool:
        """Whether records may be used that were just fetched: False where the topic has changed since they were asked.

        Waits up to `HOLD_SECONDS` for the answer to a doubt, once for each doubt.
        """
        if self._answered.is_set():
            return True
        known = self._known
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                await self._answered.wait()
        except TimeoutError:
            self._answered.set()  # the answer, when it comes, still stops the lanes
        return self._known == known

    async def watch(self) -> None:
        """Ask upon each doubt, and now and then without any, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._ask.wait()
            try:
                await self._look()
            except Exception:  # Kafka is away, which is said elsewhere
                await asyncio.sleep(RETRY_SECONDS)

    def _doubt(self) -> None:
        self._doubts += 1
        self._answered.clear()
        self._ask.set()

    async def _look(self) -> None:
        doubts, identity = self._doubts, await self._identity()
        changed, self._known = identity != self._known, identity
        if doubts == self._doubts:
            self._answered.set()
            self._ask.clear()
        if changed:
            self._update_metadata()  # whether there are partitions to assign; else the client asks every five minutes
            self._on_change()

    async def _identity(self) -> TopicIdentity | None:
        try:
            return await self._cluster.identity(self._topic) or _UNTOLD
        except UnknownTopicOrPartitionError:
            return None
