"""The transactional producer of a session: results of a turn and offsets become visible together or never."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.transaction import EndTxnRequest, TxnOffsetCommitRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from worker.domain.command import Source
from worker.messages.events import Event, dead_letter_event, event_of
from worker.messages.rules import Kind
from worker.observability.hooks import Hooks, Sent
from worker.settings import Settings
from worker.store import failpoints
from worker.store.port import LaneName
from worker.stream.aiokafka_internals import sender_of
from worker.stream.cluster.connection import client_options, close_within
from worker.stream.cluster.leaders import has_leader, name_of
from worker.stream.cluster.offset_fetch_v7 import worker_metadata
from worker.stream.delivery import LOOK_SECONDS, Delivery, NotOver, Patience, suspects

# A session that does not start in time is replaced by one with another id, which another broker may coordinate.
START_SECONDS = 5.0
# Shorter than the client's own retries and the default transaction timeout, since the producer is thrown away on any
# doubt. If a result partition takes nothing, all other lanes go on within 30 s.
EMIT_SECONDS = 20.0
# A larger single record gets a batch of its own. Above 512 KiB a request is humongous to the G1 collector of a broker
# with a heap of up to 2 GB: the requests of 560 KB that full batches made took a fifth of the broker's CPU.
RECORD_BATCH_BYTES = 480_000

# The client sends these requests again when a connection breaks, although the first one may still arrive, in the middle
# of the next transaction of the same epoch (guard B20, KAFKA-17754). EndTxn would then commit half of that transaction
# without its offsets, and TxnOffsetCommit would commit an old offset in place of the new one. All other requests may be
# late: AddPartitions and AddOffsets only add a partition, and the broker knows a Produce by its sequence numbers.
_SENT_ONCE = (TxnOffsetCommitRequest, EndTxnRequest)


class Doubt(Exception):
    """The worker does not know what became of a turn.

    `suspects` are partitions of command topics whose lanes failed while others may have succeeded. It is empty if no
    particular lane is to blame.
    """

    def __init__(self, reason: str, suspects: Iterable[TopicPartition] = ()) -> None:
        super().__init__(reason)
        self.suspects = frozenset(suspects)


class EmissionFailed(Doubt):
    """The results may be visible or not. Throw the emitter away and open the lanes again."""


class Unanswered(Exception):
    """A request that must not be sent twice got no answer. No `KafkaError`: after those, the client sends again."""


class Emitter:
    """Publishes results through one transactional producer. The emitter is thrown away on any doubt.

    Its transactional id must never be used before or again. `offsets_group` is the group whose offsets it commits, by
    default the workers' group. `offsets_at` is the partition for which it commits the offset of its only lane, by
    default the lane's own.
    """

    def __init__(
        self,
        settings: Settings,
        transactional_id: str,
        hooks: Hooks,
        *,
        offsets_group: str | None = None,
        offsets_at: TopicPartition | None = None,
    ) -> None:
        self._settings = settings
        self._offsets_group, self._offsets_at = offsets_group or settings.group_id, offsets_at
        self._hooks = hooks
        # By command topic: the channel's result topics by kind, and its topic of dead letters.
        self._topics = {
            topic: dict(zip(Kind, channel.result_topics, strict=True))
            for topic, channel in settings.by_commands.items()
        }
        self._dead_letters = {topic: channel.dead_letter_topic for topic, channel in settings.by_commands.items()}
        # How many partitions each topic had at first: a lane's results stay in one partition when a topic grows.
        self._partitions: dict[str, int] = {}
        # Whether a transaction ever began, whether one committed, and whether the last one is not known to have ended.
        self.has_begun = self.has_committed = self.is_open = False
        self._producer = AIOKafkaProducer(
            **client_options(settings),
            transactional_id=transactional_id,
            transaction_timeout_ms=int(settings.kafka_transaction_timeout_seconds * 1000),
            max_batch_size=RECORD_BATCH_BYTES,
        )
        send_once(self._producer.client)

    async def start(self) -> None:
        """Send InitProducerId, and ask for the metadata of all topics of results and dead letters at once.

        A topic that is missing or forbidden fails only the lanes that have results for it.
        """
        topics = [topic for channel in self._settings.by_commands.values() for topic in channel.answer_topics]
        async with asyncio.timeout(START_SECONDS):
            await self._producer.start()
            await self._producer.client.set_topics(topics)
            if not all(map(self._partition_count, topics)):  # the answer may belong to an earlier request
                await self._producer.client.force_metadata_update()

    def find_obstacle(self, lane: LaneName) -> str | None:
        """Say which topic or partition takes no results of a lane now, if any. Then also asks for newer metadata."""
        client = self._producer.client
        for topic in (*self._topics[lane.topic].values(), self._dead_letters[lane.topic]):
            if self._partition_count(topic) is None:
                # Do not wait for a missing right: only lanes that have a result for this topic have to fail.
                obstacle = None if topic in client.cluster.unauthorized_topics else f"Kafka knows no topic {topic}"
            else:
                target = self._target(topic, lane.partition)
                obstacle = None if has_leader(client, target) else f"{name_of(target)} has no leader"
            if obstacle is not None:
                client.force_metadata_update()  # not awaited: the next call sees the answer
                return obstacle
        return None

    def _partition_count(self, topic: str) -> int | None:
        """How many partitions a topic had when Kafka first reported it; None before that."""
        if topic not in self._partitions and (known := self._producer.client.cluster.partitions_for_topic(topic)):
            self._partitions[topic] = len(known)
        return self._partitions.get(topic)

    async def emit(self, batches: Sequence[Sent], before_commit: Callable[[], None] = lambda: None) -> None:
        """Publish the answers of batches and commit the offsets after them, in one transaction.

        Calls `before_commit` when only the end of the transaction is left. Raises `EmissionFailed` on any doubt.
        """
        deliveries = self._deliveries(batches)
        offsets = {
            self._offsets_at or TopicPartition(batch.lane.topic, batch.lane.partition): OffsetAndMetadata(
                batch.stop, worker_metadata(batch.stop)
            )
            for batch in batches
        }
        try:
            with (
                self._hooks.transaction("kafka", sum(len(batch.answers) for batch in batches)),
                self._hooks.sending(batches, self._destination),
            ):
                async with asyncio.timeout(EMIT_SECONDS):
                    await self._transaction(deliveries, offsets, before_commit)
        except Exception as error:
            if isinstance(error, NotOver):
                # Kafka may end the previous transaction at any moment, and would then take requests of this one.
                self._stop_sending()
            raise EmissionFailed(
                f"{type(error).__name__}: {error}", suspects(self._producer, deliveries, error)
            ) from error

    async def _transaction(
        self,
        deliveries: Sequence[Delivery],
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        before_commit: Callable[[], None],
    ) -> None:
        producer = self._producer
        await producer.begin_transaction()
        self.has_begun = self.is_open = True
        failpoints.reach("begin")
        await self._deliver_all(deliveries)
        failpoints.reach("acks")
        # Not in parallel with the results: brokers would ask the coordinator about both at once (KIP-890), and it
        # answers one question per transaction. Tried: one offset commit in ten failed, and the client waited 100 ms.
        await producer.send_offsets_to_transaction(offsets, self._offsets_group)
        failpoints.reach("offsets")
        before_commit()
        await producer.commit_transaction()
        self.is_open, self.has_committed = False, True
        failpoints.reach("EndTxn answered")

    async def _deliver_all(self, deliveries: Sequence[Delivery]) -> None:
        """Await every delivery: a commit succeeds even if a send failed (guard B3).

        Each delivery has its own task, since a batch waits until the one before it to the same partition is on its way.
        `Patience` gives up on brokers that take nothing, so that the other lanes do not wait for them.
        """
        pending = {asyncio.ensure_future(self._deliver(delivery)) for delivery in deliveries}
        patience = Patience(self._producer)
        try:
            while pending:
                done, pending = await asyncio.wait(pending, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
                if pending:
                    patience.check(deliveries)
        finally:
            for task in pending:
                task.cancel()

    async def _deliver(self, delivery: Delivery) -> None:
        """Hand over record batches in order, and await and count their acknowledgements."""
        try:
            sent, builder = list[asyncio.Future[object]](), self._producer.create_batch()
            for event in delivery.events:
                if not _append(builder, event):
                    sent.append(await self._submit(builder, delivery.target))
                    builder = self._producer.create_batch()
                    _append(builder, event)
            sent.append(await self._submit(builder, delivery.target))
            # The client returns None for a batch that it dropped.
            if None in await asyncio.gather(*sent):
                raise EmissionFailed("a batch of results was dropped by the client")
            delivery.is_acknowledged = True
        except Exception as error:
            delivery.failure = error
            raise

    async def _submit(self, builder: BatchBuilder, target: TopicPartition) -> "asyncio.Future[object]":
        builder.close()
        sent: asyncio.Future[object] = await self._producer.send_batch(
            builder, target.topic, partition=target.partition
        )
        failpoints.reach("k-th send")
        return sent

    def _target(self, topic: str, partition: int) -> TopicPartition:
        """The partition with the command's number, so that a lane uses one partition per topic, in order."""
        return TopicPartition(topic, partition % (self._partition_count(topic) or partition + 1))

    def _destination(self, kind: Kind, lane: LaneName) -> TopicPartition:
        return self._target(self._topics[lane.topic][kind], lane.partition)

    def _deliveries(self, batches: Sequence[Sent]) -> list[Delivery]:
        """Sort results and copies of dead letters by the partition that they go to."""
        deliveries: dict[TopicPartition, Delivery] = {}

        def delivery_to(target: TopicPartition, lane: TopicPartition) -> Delivery:
            delivery = deliveries.setdefault(target, Delivery(target))
            delivery.lanes.add(lane)
            return delivery

        for batch in batches:
            topic, partition = lane = TopicPartition(batch.lane.topic, batch.lane.partition)
            by_kind: dict[Kind, Delivery] = {}  # per batch: finding the delivery of each answer took a microsecond
            for answer in batch.answers:
                delivery = by_kind.get(answer.kind)
                if delivery is None:
                    delivery = by_kind[answer.kind] = delivery_to(self._destination(answer.kind, batch.lane), lane)
                delivery.events.append(event_of(answer, topic, partition))
                if answer.dead_letter is not None:
                    source = Source(topic, partition, answer.offset, answer.appended_ms)
                    copy = dead_letter_event(answer.dead_letter, source, self._settings.group_id)
                    delivery_to(self._target(self._dead_letters[topic], partition), lane).events.append(copy)
        return list(deliveries.values())

    async def end_sending(self) -> None:
        """Send nothing more of a transaction. After this, only requests that are on their way may still arrive."""
        self._stop_sending()
        if (sender := sender_of(self._producer)) is not None:
            _, late = await asyncio.wait({sender}, timeout=1.0)
            if late:  # the sender waits for a silent broker until its connections are closed
                await close_within(self._producer.client.close(), 0.5)
                await asyncio.wait({sender})

    def _stop_sending(self) -> None:
        if (sender := sender_of(self._producer)) is not None:
            sender.cancel()

    async def close(self) -> None:
        """Close all connections, whatever state the transaction is in; never abort it (guard B4)."""
        await close_within(self._producer.stop(), 1.5)
        await close_within(self._producer.client.close(), 0.5)


def send_once(client: AIOKafkaClient, end_sent: str = "EndTxn sent") -> None:
    """Never send a request of `_SENT_ONCE` again: a lost answer to one raises `Unanswered`.

    `end_sent` names the failpoint between EndTxn and its answer.
    """
    send = client.send

    async def once(node: int, request: object, **options: Any) -> object:
        try:
            if not isinstance(request, EndTxnRequest):
                return await send(node, request, **options)
            answer = asyncio.ensure_future(send(node, request, **options))
            await asyncio.sleep(0)  # lets the task send the request
            failpoints.reach(end_sent)
            return await answer
        except KafkaError as error:
            if isinstance(request, _SENT_ONCE):
                raise Unanswered(f"{type(request).__name__}: {type(error).__name__}: {error}") from error
            raise

    client.send = once


def _append(builder: BatchBuilder, event: Event) -> bool:
    """Add an event to a batch; False when the batch is full. The first event always fits, whatever its size."""
    metadata = builder.append(timestamp=None, key=event.key, value=event.value, headers=event.headers)
    return metadata is not None
