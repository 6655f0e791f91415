"""Notices when a command topic was deleted, or created again under the same name."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from worker.store.port import TopicIdentity
from worker.stream.background import is_set_within
from worker.stream.cluster.connection import Cluster

WATCH_SECONDS = 1.0
RETRY_SECONDS = 0.2

# How long records that were fetched in doubt wait for the topic's id.
HOLD_SECONDS = 0.5

# The identities of topics by name; None if no topic has the name.
Identities = dict[str, TopicIdentity | None]

# The identity of a topic before the first answer, and always if brokers are too old to have ids.
_UNKNOWN = TopicIdentity("", "")


class TopicWatch:
    """Calls `on_change` with the name of a topic that was deleted or replaced.

    aiokafka fetches by name, so it would read a new topic from the old offset on. But before, it has to ask for
    metadata, after an error or a broken connection. Each such request is a doubt: the watch asks the cluster for the
    topics' identities, while reading goes on. Records that were fetched in doubt wait for the answer, but not for long:
    a silent broker must not hold up lanes that do not need it.
    """

    def __init__(
        self, cluster: Cluster, topics: Collection[str], client: AIOKafkaClient, on_change: Callable[[str], None]
    ) -> None:
        """`client` is the one that fetches."""
        self._cluster, self._topics, self._on_change = cluster, topics, on_change
        self._known: Identities = dict.fromkeys(topics, _UNKNOWN)
        self._doubts = 0
        # Set while no doubt is open, or once nobody waits for the answer any longer.
        self._answered = asyncio.Event()
        self._answered.set()
        self._ask = asyncio.Event()
        self._update_metadata = client.force_metadata_update

        def doubt_and_update() -> Any:
            self._doubts += 1
            self._answered.clear()
            self._ask.set()
            return self._update_metadata()

        client.force_metadata_update = doubt_and_update

    @property
    def gone(self) -> list[str]:
        """The topics that did not exist at the last look."""
        return [topic for topic, identity in self._known.items() if identity is None]

    async def begin(self) -> None:
        """Note the present identities of the topics. Raises `CLUSTER_ERRORS`."""
        identities, error = await self._identities()
        if error is not None:
            raise error
        self._known = identities

    async def may_use(self, topic: str) -> bool:
        """Whether records that were just fetched belong to the known topic, and not to a new one of the same name.

        Waits up to `HOLD_SECONDS` for the answer to a doubt, once for each doubt.
        """
        if self._answered.is_set():
            return True
        known = self._known[topic]
        if not await is_set_within(self._answered, HOLD_SECONDS):
            self._answered.set()  # the answer, when it comes, still stops the lanes
        return self._known[topic] == known

    async def watch(self) -> None:
        """Ask at each doubt, and every `WATCH_SECONDS` without one, until cancelled."""
        while True:
            await is_set_within(self._ask, WATCH_SECONDS)
            try:
                await self._look()
            except Exception:  # Kafka is away, which `watch-servers` reports
                await asyncio.sleep(RETRY_SECONDS)

    async def _look(self) -> None:
        """Compare the identities of the topics with those before. Then raises the error of a topic, if any has one."""
        doubts, known, (identities, error) = self._doubts, self._known, await self._identities()
        self._known = known | identities
        # A doubt that came during the question may mean a later change. It needs a later answer.
        if doubts == self._doubts and error is None:
            self._answered.set()
            self._ask.clear()
        if changed := [topic for topic, identity in identities.items() if identity != known[topic]]:
            # The client has to learn of new partitions to assign: left alone, it would ask every five minutes.
            self._update_metadata()
            for topic in changed:
                self._on_change(topic)
        if error is not None:
            raise error

    async def _identities(self) -> tuple[Identities, KafkaError | None]:
        """The identities of all topics that have no error, such as a missing right; and an error, if any has one."""
        known: Identities = {}
        failure: KafkaError | None = None
        for topic, identity in (await self._cluster.identities(self._topics)).items():
            if isinstance(identity, UnknownTopicOrPartitionError):
                known[topic] = None
            elif isinstance(identity, KafkaError):
                failure = identity
            else:
                known[topic] = identity or _UNKNOWN
        return known, failure
