"""aiokafka's clients and the questions to a cluster, over the network of the model.

They do what aiokafka does as far as the worker depends on it: a producer has one task that sends, retries whatever got
no answer, and goes on with it after its caller has given up; a consumer fetches ahead and hears of the group in its own
time.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aiokafka.errors import IllegalStateError, KafkaConnectionError, KafkaError, for_code
from aiokafka.protocol.transaction import EndTxnRequest, InitProducerIdRequest, TxnOffsetCommitRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tests.model.kafka import BROKERS, OFFSETS, Code
from tests.model.loop import PROCESS
from worker.messages.envelope import Record
from worker.messages.events import Event
from worker.store.port import TopicIdentity
from worker.stream.cluster.offset_fetch_v7 import Committed, UnstableOffset
from worker.stream.log_reader import Bounds

if TYPE_CHECKING:
    from tests.model.process import WorkerProcess

T = TypeVar("T")

RETRY_SECONDS = 0.1


def coordinator_of(name: str) -> int:
    """The broker that coordinates a group, or the transactions of an id."""
    return sum(name.encode()) % len(BROKERS)


class Client:
    """A client of aiokafka: the leader of partition p is broker p. Metadata are always up to date."""

    def __init__(self) -> None:
        self.process = cast("WorkerProcess", PROCESS.get())
        self.cluster = self

    def leader_for_partition(self, partition: TopicPartition) -> int:
        """See aiokafka."""
        is_led = partition.topic == self.process.topic or partition.partition not in self.process.kafka.leaderless
        return partition.partition % len(BROKERS) if is_led else -1

    def brokers(self) -> list[SimpleNamespace]:
        """See aiokafka."""
        return [SimpleNamespace(nodeId=node) for node in BROKERS]

    def partitions_for_topic(self, topic: str) -> Collection[int]:
        """See aiokafka."""
        return self.process.lanes

    async def set_topics(self, topics: Collection[str]) -> None:
        """See aiokafka."""

    def force_metadata_update(self) -> None:
        """See aiokafka. A watch of the topic takes this as a doubt."""

    async def send(self, node: int, request: object, **_: object) -> Any:
        """Send a request that `Producer` has made, or a probe."""
        call, *args = getattr(request, "call", [self.process.kafka.identify])
        return await self.process.ask(node, call, *args)

    async def close(self) -> None:
        """See aiokafka."""


class _EndTxn(EndTxnRequest):  # type: ignore[misc]  # aiokafka ships no types
    def __init__(self, *call: object) -> None:
        self.call = call


class _TxnOffsetCommit(TxnOffsetCommitRequest):  # type: ignore[misc]
    def __init__(self, *call: object) -> None:
        self.call = call


class _Builder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, *, timestamp: None, key: bytes | None, value: bytes | None, headers: Any) -> object:
        self.events.append(Event(key, value, headers))
        return self

    def close(self) -> None:
        pass


class Producer:
    """AIOKafkaProducer."""

    def __init__(self, *, transactional_id: str, **_: object) -> None:
        self.client = Client()
        self.sender: asyncio.Task[None] | None = None
        self.coordinator = coordinator_of(transactional_id)
        self._process, self._kafka = self.client.process, self.client.process.kafka
        self._id, self._epoch = transactional_id, -1
        self._sequences: dict[TopicPartition, int] = {}
        self._added: set[TopicPartition] = set()
        self._to_add: dict[TopicPartition, None] = {}
        self._adding: asyncio.Task[None] | None = None
        self._work: dict[asyncio.Task[Any], None] = {}

    @property
    def has_partitions_to_add(self) -> bool:
        """Whether the coordinator has not taken a partition yet."""
        return bool(self._to_add)

    async def start(self) -> None:
        """InitProducerId."""
        self.sender = asyncio.create_task(self._send())
        code = Code.CONCURRENT_TRANSACTIONS
        while code is not Code.NONE:
            try:
                code, self._epoch = await self._process.ask(self.coordinator, self._kafka.init_producer_id, self._id)
            except KafkaError:
                await asyncio.sleep(RETRY_SECONDS)

    async def begin_transaction(self) -> None:
        """Only a note: AddPartitions begins it."""
        self._added.clear()

    def create_batch(self) -> _Builder:
        """See aiokafka."""
        return _Builder()

    async def send_batch(self, builder: _Builder, topic: str, *, partition: int) -> "asyncio.Future[object]":
        """Hand a batch to the sender. The future is its acknowledgement."""
        return cast("asyncio.Future[object]", self._start(self._produce(TopicPartition(topic, partition), builder)))

    async def send_offsets_to_transaction(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], group_id: str
    ) -> None:
        """AddOffsetsToTxn, TxnOffsetCommit."""
        committed = {at.partition: Committed(*offset) for at, offset in offsets.items()}
        await asyncio.shield(self._start(self._commit_offsets(committed)))

    async def commit_transaction(self) -> None:
        """EndTxn."""
        request = _EndTxn(self._kafka.end_txn, self._id, self._epoch)
        await asyncio.shield(self._start(self._until_taken(lambda: self.client.send(self.coordinator, request))))

    async def stop(self) -> None:
        """See aiokafka; the worker has ended the sender before."""
        if self.sender is not None:
            self.sender.cancel()

    def _start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        if self.sender is None or self.sender.done():
            work.close()
            raise KafkaError("the producer is closed")
        task = asyncio.create_task(work)
        self._work[task] = None
        task.add_done_callback(self._work.pop)
        return task

    async def _send(self) -> None:
        """Be the task that all requests end with."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for task in [*self._work]:
                task.cancel()

    async def _produce(self, target: TopicPartition, builder: _Builder) -> "object":
        await self._add(target)
        sequence = self._sequences[target] = self._sequences.get(target, 0) + 1
        produced = self._kafka.produce, self._id, self._epoch, target, sequence, tuple(builder.events)
        await self._until_taken(lambda: self._process.ask(self.client.leader_for_partition(target), *produced))
        return target

    async def _commit_offsets(self, offsets: Mapping[int, Committed]) -> None:
        await self._add(OFFSETS)
        request = _TxnOffsetCommit(self._kafka.txn_offset_commit, self._id, self._epoch, offsets)
        await self._until_taken(lambda: self.client.send(self._process.group_coordinator, request))

    async def _add(self, target: TopicPartition) -> None:
        """AddPartitionsToTxn, of all partitions that wait for it."""
        if target not in self._added:
            self._to_add[target] = None
            if self._adding is None:
                self._adding = self._start(self._add_all())
            await asyncio.shield(self._adding)

    async def _add_all(self) -> None:
        await asyncio.sleep(0)
        while targets := tuple(self._to_add):
            added = self._kafka.add_partitions, self._id, self._epoch, targets
            await self._until_taken(partial(self._process.ask, self.coordinator, *added))
            self._added.update(targets)
            for target in targets:
                del self._to_add[target]
        self._adding = None

    async def _until_taken(self, send: Callable[[], Coroutine[Any, Any, Code]]) -> None:
        """Send a request until it is taken, or refused. aiokafka does so with all requests, also those without answer.

        A `KafkaError` says that there was no answer. The worker raises something else where that must end it.
        """
        code = None
        while code is not Code.NONE:
            try:
                code = await send()
            except KafkaError:
                code = None
            if code not in (None, Code.NONE, Code.CONCURRENT_TRANSACTIONS, Code.NOT_LEADER):
                raise for_code(code.value)
            if code is not Code.NONE:
                await asyncio.sleep(RETRY_SECONDS)


@dataclass(slots=True, eq=False)
class _Partition:
    """An assigned partition: what was fetched, and the position behind it."""

    position: int = 0
    # Grows with each seek: what was fetched before is dropped.
    seeks: int = 0
    fetching: int = -1
    fetched: tuple[list[Record], int] | None = None


class Consumer:
    """AIOKafkaConsumer, which reads a topic, and is told of the group by the world."""

    def __init__(self, **_: object) -> None:
        self.client = Client()
        self._process = self.client.process
        self.membership = self.client.process.world.nobody
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._news, self._arrived = asyncio.Event(), asyncio.Event()
        self._process.hear = self._news.set

    async def start(self) -> None:
        """See aiokafka."""

    def subscribe(self, topics: Sequence[str], listener: Any) -> None:
        """Join the group."""
        self._news.set()
        self._tasks.append(asyncio.create_task(self._follow(listener)))

    async def stop(self) -> None:
        """See aiokafka."""
        for task in self._tasks:
            task.cancel()

    async def _follow(self, listener: Any) -> None:
        """Take part in rebalances, in the process's own time."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self.membership is self._process.world.membership:
                continue
            if self._partitions:
                await listener.on_partitions_revoked({*self._partitions})
            self.membership = self._process.world.membership
            lanes = self.membership.lanes.get(self._process.name, [])
            self._partitions = {TopicPartition(self._process.topic, lane): _Partition() for lane in lanes}
            listener.on_partitions_assigned([*self._partitions])

    # Reading

    def pause(self, *partitions: TopicPartition) -> None:
        """No fetch begins before a seek."""

    def resume(self, *partitions: TopicPartition) -> None:
        """Begin to fetch."""
        for partition in partitions:
            self._fetch(partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """See aiokafka."""
        state = self._assigned(partition)
        state.position, state.fetched = offset, None
        state.seeks += 1
        if state.seeks > 1:
            self._fetch(partition)

    async def position(self, partition: TopicPartition) -> int:
        """See aiokafka."""
        return self._assigned(partition).position

    async def getmany(self, partition: TopicPartition, *, max_records: int) -> dict[TopicPartition, list[Record]]:
        """What was fetched of a partition, which is never as much as `max_records`."""
        state = self._assigned(partition)
        if state.fetched is None:
            return {}
        (records, state.position), state.fetched = state.fetched, None
        self._fetch(partition)
        return {partition: records}

    @property
    def fetched(self) -> Collection[TopicPartition]:
        """Partitions of which something was fetched."""
        return {at for at, state in self._partitions.items() if state.fetched is not None}

    async def wait_for_fetch(self, seconds: float) -> None:
        """Wait until something is fetched, for longer than aiokafka, since all that a poll waits for sets the event."""
        self._arrived.clear()
        try:
            async with asyncio.timeout(10 * seconds):
                await self._arrived.wait()
        except TimeoutError:
            pass

    def _assigned(self, partition: TopicPartition) -> _Partition:
        if partition not in self._partitions:
            raise IllegalStateError(f"{partition} is not assigned")
        return self._partitions[partition]

    def _fetch(self, partition: TopicPartition) -> None:
        """Fetch from the position on, once at a time."""
        self._arrived.set()
        state = self._partitions[partition]
        if state.fetching != state.seeks:
            state.fetching = state.seeks
            self._tasks.append(asyncio.create_task(self._fetch_once(partition.partition, state, state.seeks)))

    async def _fetch_once(self, lane: int, state: _Partition, seeks: int) -> None:
        fetched = None
        while fetched is None and state.seeks == seeks:
            try:
                fetched = await self._process.ask(lane, self._process.world.fetch, lane, state.position)
            except KafkaError:
                self.client.force_metadata_update()
                await asyncio.sleep(RETRY_SECONDS)
        if self._process.world.dice.random() < self._process.world.weather.doubt:
            self.client.force_metadata_update()
        if state.seeks == seeks:
            state.fetched, state.fetching = fetched, -1
            self._arrived.set()

    def last_stable_offset(self, partition: TopicPartition) -> int:
        """See aiokafka."""
        return self._process.world.ends[partition.partition]

    def partitions_for_topic(self, topic: str) -> Collection[int]:
        """See aiokafka."""
        return self._process.lanes

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """See aiokafka."""
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """See aiokafka."""
        await self._process.ask(min(partitions).partition, self._process.kafka.identify)
        return {at: self._process.world.ends[at.partition] for at in partitions}


class Cluster:
    """`worker.stream.cluster.connection.Cluster`."""

    def __init__(self, process: "WorkerProcess") -> None:
        self.process, self.kafka = process, process.kafka

    async def identities(self, topics: Collection[str]) -> dict[str, TopicIdentity]:
        """Any broker answers, and it may be one that hangs."""
        await self.process.ask(self.process.world.dice.choice(BROKERS), self.kafka.identify)
        return {topic: TopicIdentity("cluster", topic) for topic in topics}

    async def committed(
        self, group_id: str, partitions: Collection[TopicPartition], *, stable: bool = True
    ) -> dict[TopicPartition, Committed | UnstableOffset | None]:
        """OffsetFetch."""
        lanes = tuple(partition.partition for partition in partitions)
        offsets = await self.process.ask(self.process.group_coordinator, self.kafka.fetch_offsets, lanes, stable)
        return {partition: offsets[partition.partition] for partition in partitions}

    async def all_committed(self, group_id: str) -> dict[TopicPartition, Committed]:
        """OffsetFetch without topics."""
        partitions = [TopicPartition(self.process.topic, at) for at in self.process.lanes]
        offsets = await self.committed(group_id, partitions, stable=False)
        return {partition: offset for partition, offset in offsets.items() if isinstance(offset, Committed)}

    async def is_member(self, group_id: str, generation: int, member: str) -> bool:
        """A heartbeat."""
        ask, world = self.process.ask, self.process.world
        return bool(await ask(self.process.group_coordinator, world.is_member, generation, member))

    async def is_coordinated(self, transactional_id: str) -> bool:
        """Whether the coordinator is not silent."""
        return True

    async def ask_transaction_coordinator(self, transactional_id: str, request: object) -> Any:
        """InitProducerId and DescribeTransactions, as fences need them."""
        node = coordinator_of(transactional_id)
        if isinstance(request, InitProducerIdRequest):
            code, _ = await self.process.ask(node, self.kafka.init_producer_id, transactional_id)
            return SimpleNamespace(error_code=code.value)
        state = await self.process.ask(node, self.kafka.describe_transaction, transactional_id)
        return SimpleNamespace(transaction_states=[(0, transactional_id, state.value)])

    async def partition_counts(self, topics: Sequence[str]) -> dict[str, int]:
        """Metadata."""
        return dict.fromkeys(topics, len(self.process.lanes))


class LogReader:
    """`worker.stream.log_reader.LogReader`, of results and commands."""

    def __init__(self, cluster: Cluster, *, committed: bool = True) -> None:
        self._process, self._kafka, self._committed = cluster.process, cluster.kafka, committed

    async def bounds(self, topic: str, partitions: Collection[int]) -> dict[int, Bounds]:
        """Where logs begin and end."""
        bounds: dict[int, Bounds] = await self._process.ask(min(partitions), self._bounds, topic, partitions)
        return bounds

    def _bounds(self, topic: str, partitions: Collection[int]) -> dict[int, Bounds]:
        if topic == self._process.topic:
            return {at: Bounds(0, self._process.world.ends[at]) for at in partitions}
        if self._kafka.leaderless.intersection(partitions):
            raise KafkaConnectionError("no leader")
        return {at: Bounds(0, self._kafka.log(TopicPartition(topic, at)).end(self._committed)) for at in partitions}

    async def first_since(self, topic: str, partitions: Collection[int], time: datetime) -> dict[int, int]:
        """The first record at a time: all are recent."""
        return dict.fromkeys(partitions, 0)

    async def appended_at(self, topic: str, offsets: Mapping[int, int]) -> dict[int, int]:
        """The append times of the first commands from these offsets on."""
        ends = self._process.world.ends
        return {at: 0 for at, offset in offsets.items() if offset < ends[at]}

    async def read(self, topic: str, partition: int, start: int, stop: int) -> AsyncIterator[list[Event]]:
        """Records between two offsets."""
        if start < stop:
            yield await self._process.ask(partition, self._records, topic, partition, start, stop)

    def _records(self, topic: str, partition: int, start: int, stop: int) -> list[Event]:
        batches = self._kafka.log(TopicPartition(topic, partition)).batches
        return [
            event for batch in batches if batch.committed and start <= batch.offset < stop for event in batch.events
        ]
