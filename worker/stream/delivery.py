"""The deliveries of a transaction to result partitions, and how long each broker is worth waiting for."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTxnState
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from worker.messages.events import Event
from worker.stream.aiokafka_internals import has_partitions_to_add, sender_of, transaction_coordinator_of
from worker.stream.cluster.leaders import has_leader, name_of
from worker.stream.cluster.silent_brokers import node_answered

# How often pending deliveries are checked.
LOOK_SECONDS = 0.5
# How long a transaction waits for a broker that is silent while others answer, and for the end of the previous
# transaction, which may lack its marker on such a broker.
SILENT_SECONDS = 1.0
# How long results wait for slow followers of their leader, once other results of the transaction are acknowledged.
FOLLOWERS_SECONDS = 3.0

# Not a `ConnectionGroup` of aiokafka, so that probes get their own connections.
_PROBES = 2


class NoLeader(Exception):
    """A result partition has no leader, so no broker takes results for it."""


class SilentLeader(Exception):
    """The leader of result partitions does not take results, while other brokers do, or answer."""

    def __init__(self, node: int, targets: Collection[TopicPartition]) -> None:
        super().__init__(f"broker {node} does not take results for {', '.join(map(name_of, sorted(targets)[:3]))}")
        self.targets = frozenset(targets)


class NotOver(Exception):
    """Kafka has not ended the previous transaction: a broker that this one may not even need lacks its marker."""


@dataclass(slots=True)
class Delivery:
    """All events for one result partition, the command partitions that they answer, and the state of the delivery."""

    target: TopicPartition
    lanes: set[TopicPartition] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)
    is_acknowledged: bool = False
    failure: Exception | None = None

    @property
    def is_refused(self) -> bool:
        """The broker rejected this delivery itself; it did not fail because an earlier one broke the transaction."""
        return self.failure is not None and not isinstance(self.failure, InvalidTxnState)

    @property
    def is_pending(self) -> bool:
        """Whether the broker has neither acknowledged nor rejected it."""
        return not self.is_acknowledged and self.failure is None


class Patience:
    """Decides for how long a transaction waits for the brokers of its deliveries."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer, self._client = producer, producer.client
        self._began = time.monotonic()
        self._first_taken: float | None = None
        self._probes: set[asyncio.Future[object]] = set()

    def check(self, deliveries: Sequence[Delivery]) -> None:
        """Raise `NoLeader`, `NotOver` or `SilentLeader` if waiting is useless. Otherwise probe the brokers."""
        now = time.monotonic()
        pending = [delivery.target for delivery in deliveries if delivery.is_pending]
        if self._first_taken is None and any(delivery.is_acknowledged for delivery in deliveries):
            self._first_taken = now
        by_leader = defaultdict[int, list[TopicPartition]](list)
        for target in pending:
            by_leader[self._client.cluster.leader_for_partition(target)].append(target)
        if now - self._began >= SILENT_SECONDS:
            if without := [target for target in pending if not has_leader(self._client, target)]:
                # The client would only ask for metadata again and again.
                raise NoLeader(f"{name_of(without[0])} has no leader")
            # The coordinator takes no partitions for this transaction while it is ending the previous one.
            if has_partitions_to_add(self._producer) and self._answered(transaction_coordinator_of(self._producer)):
                raise NotOver("the previous transaction has not ended in Kafka")
            for node, targets in by_leader.items():
                if self._is_given_up(node, now):
                    raise SilentLeader(node, targets)
        for node in by_leader:
            self._probe(node)
        # The next check needs new metadata to see whether a partition has lost its leader.
        self._client.force_metadata_update()

    def _is_given_up(self, node: int, now: float) -> bool:
        """Whether a broker is silent while others answer, or has waited too long for followers."""
        if self._answered(node):
            return self._first_taken is not None and now - self._first_taken >= FOLLOWERS_SECONDS
        return any(self._answered(broker.nodeId) for broker in self._client.cluster.brokers() if broker.nodeId != node)

    def _answered(self, node: int) -> bool:
        return node_answered(self._client, node, SILENT_SECONDS)

    def _probe(self, node: int) -> None:
        """Ask a broker for anything, without waiting: its answer shows that it is alive.

        A broker answers each connection in order. On the producer's own connection, the answer would have to wait
        behind results that wait for followers.
        """
        probe = asyncio.ensure_future(self._client.send(node, MetadataRequest([]), group=_PROBES))
        self._probes.add(probe)
        probe.add_done_callback(self._forget)

    def _forget(self, probe: "asyncio.Future[object]") -> None:
        self._probes.discard(probe)
        if not probe.cancelled():
            probe.exception()  # asyncio logs an exception that nobody has read


def suspects(producer: AIOKafkaProducer, deliveries: Sequence[Delivery], error: Exception) -> set[TopicPartition]:
    """Partitions of lanes whose results were rejected; without any, those still pending while others were acknowledged.

    With a silent leader, only the lanes of its results are suspects. A transaction that did not begin blames no lane.
    """
    if isinstance(error, NotOver):
        return set()
    if isinstance(error, SilentLeader):
        return {lane for delivery in deliveries if delivery.target in error.targets for lane in delivery.lanes}
    sender = sender_of(producer)
    if sender is None or sender.done():  # a sender that ended fails all deliveries, so nothing tells which is to blame
        return set()
    refused = [delivery for delivery in deliveries if delivery.is_refused]
    pending = [delivery for delivery in deliveries if delivery.is_pending]
    blamed = refused or (pending if len(pending) < len(deliveries) else [])
    return {lane for delivery in blamed for lane in delivery.lanes}
