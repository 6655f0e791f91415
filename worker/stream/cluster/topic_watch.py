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

_UNTOLD = TopicIdentity("", "")
"""What is known of a topic before it was asked for, and of every topic where the broker is too old to tell ids."""


class TopicWatch:
    """Notices that there is another topic of this name, or none, and calls `on_change`.

    aiokafka fetches by name, so it would read a topic that was made anew from the old offset on. It cannot get there
    without asking for metadata, upon an error or a connection that broke: that makes the topic doubtful, and nothing is
    used that was fetched since, until the topic's identity was asked for again.
    """

    def __init__(self, cluster: Cluster, topic: str, client: AIOKafkaClient, on_change: Callable[[], None]) -> None:
        """`client` is the one that fetches."""
        self._cluster, self._topic, self._on_change = cluster, topic, on_change
        self._known: TopicIdentity | None = _UNTOLD
        self._doubts, self._confirmed = 1, 0
        self._update_metadata = client.force_metadata_update

        def doubt_and_update() -> Any:
            self._doubts += 1
            return self._update_metadata()

        client.force_metadata_update = doubt_and_update

    @property
    def is_gone(self) -> bool:
        """Whether there was no topic of this name when somebody looked last."""
        return self._known is None

    async def begin(self) -> None:
        """Note which topic it is now. Raises as `Cluster.identity`, but for a topic that is not there."""
        self._known = await self._identity()

    async def confirm(self) -> bool:
        """Whether it is the topic that it was. Asks the cluster only where that is doubtful, and raises as it does."""
        if self._confirmed == self._doubts:
            return True
        asked, found = self._doubts, await self._identity()
        known, self._known, self._confirmed = self._known, found, asked
        if found != known:
            self._update_metadata()  # whether there are partitions to assign; else the client asks every five minutes
            self._on_change()
        return found == known

    async def watch(self) -> None:
        """For ever: look now and then, also while nothing is fetched."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self._doubts += 1
            with suppress(Exception):  # Kafka is away, which is said elsewhere
                await self.confirm()

    async def _identity(self) -> TopicIdentity | None:
        try:
            return await self._cluster.identity(self._topic) or _UNTOLD
        except UnknownTopicOrPartitionError:
            return None
