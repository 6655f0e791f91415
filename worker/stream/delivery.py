"""Deliveries of a transaction to result partitions: what became of each, and from whom nobody waits any longer."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer
from aiokafka.client import CoordinationType
from aiokafka.errors import InvalidTxnState
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from worker.messages.events import Event
from worker.stream.cluster.connection import has_leader
from worker.stream.cluster.silent_brokers import node_answered

LOOK_SECONDS = 0.5
SILENT_SECONDS = 1.0
"""How long the lanes of a transaction wait for a broker that is silent while others answer, and for Kafka to end the
transaction before, which may lack its marker on such a broker."""
FOLLOWERS_SECONDS = 3.0
"""How long results wait for followers of their broker after others were taken, until these count as out of sync."""

_ASKING = 2
"""A number that is no `ConnectionGroup` of aiokafka."""


class NoLeader(Exception):
    """A result partition has no leader, so that nobody takes what goes there."""


class SilentLeader(Exception):
    """The leader of result partitions does not take results, while others do, or answer."""

    def __init__(self, node: int, places: Collection[TopicPartition]) -> None:
        super().__init__(f"broker {node} does not take results for {', '.join(map(name_of, sorted(places)[:3]))}")
        self.places = frozenset(places)


class NotOver(Exception):
    """Kafka has not ended the transaction before: it lacks a marker, on a broker that this one may not need."""


@dataclass(slots=True)
class Delivery:
    """What goes to one result partition, for which command partitions, and what became of it, as far as we know."""

    place: TopicPartition
    lanes: set[int] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)
    is_acknowledged: bool = False
    failure: Exception | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the broker refused it, and not since it had refused another one before."""
        return self.failure is not None and not isinstance(self.failure, InvalidTxnState)

    @property
    def is_pending(self) -> bool:
        """Whether it has neither been taken nor refused."""
        return not self.is_acknowledged and self.failure is None


class Patience:
    """Tells from whom results are not waited for any longer, while a transaction is on its way."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer, self._client = producer, producer.client
        self._began = time.monotonic()
        self._first_taken: float | None = None
        self._asking: set[asyncio.Future[object]] = set()

    def look(self, deliveries: Sequence[Delivery]) -> None:
        """Raise where waiting helps nobody."""
        now = time.monotonic()
        pending = [one.place for one in deliveries if one.is_pending]
        if self._first_taken is None and any(one.is_acknowledged for one in deliveries):
            self._first_taken = now
        by_leader = defaultdict[int, list[TopicPartition]](list)
        for place in pending:
            by_leader[self._client.cluster.leader_for_partition(place)].append(place)
        if now - self._began >= SILENT_SECONDS:
            if without := [place for place in pending if not has_leader(self._client, place)]:
                raise NoLeader(f"{name_of(without[0])} has no leader")  # the client would only ask for metadata
            if self._producer._txn_manager.partitions_to_add() and self._answered(self._coordinator()):
                raise NotOver("the transaction before has not ended in Kafka")
            for node, places in by_leader.items():
                if self._is_given_up(node, now):
                    raise SilentLeader(node, places)
        for node in by_leader:
            self._ask(node)
        self._client.force_metadata_update()

    def _is_given_up(self, node: int, now: float) -> bool:
        """A broker that is silent while others answer; or one that waits for followers, while results were taken."""
        if self._answered(node):
            return self._first_taken is not None and now - self._first_taken >= FOLLOWERS_SECONDS
        return any(self._answered(one.nodeId) for one in self._client.cluster.brokers() if one.nodeId != node)

    def _answered(self, node: int) -> bool:
        return node_answered(self._client, node, SILENT_SECONDS)

    def _coordinator(self) -> int:
        return int(self._producer._sender._coordinators.get(CoordinationType.TRANSACTION, -1))

    def _ask(self, node: int) -> None:
        """Anything, so that its answer tells whether it is alive. Nobody waits for it.

        Over a connection of its own: a broker answers in order, and results may wait for followers.
        """
        asking = asyncio.ensure_future(self._client.send(node, MetadataRequest([]), group=_ASKING))
        self._asking.add(asking)
        asking.add_done_callback(self._answer)

    def _answer(self, asking: "asyncio.Future[object]") -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()


def name_of(place: TopicPartition) -> str:
    """As people read it."""
    return f"{place.topic}/{place.partition}"


def suspects(producer: AIOKafkaProducer, deliveries: Sequence[Delivery], error: Exception) -> set[int]:
    """Lanes whose results were refused, or else were pending while those of others were acknowledged.

    A silent leader is to blame by itself. A transaction that did not begin blames nobody.
    """
    if isinstance(error, NotOver):
        return set()
    if isinstance(error, SilentLeader):
        return {lane for one in deliveries if one.place in error.places for lane in one.lanes}
    sender = producer._sender.sender_task
    if sender is None or sender.done():  # it fails all of them, whoever is to blame
        return set()
    refused = [one for one in deliveries if one.is_refused]
    pending = [one for one in deliveries if one.is_pending]
    blamed = refused or (pending if len(pending) < len(deliveries) else [])
    return {lane for one in blamed for lane in one.lanes}
