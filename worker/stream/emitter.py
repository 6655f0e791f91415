"""A lane's transactional producer: all results of a batch and the offset behind them, visible at once or not at all."""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.transaction import EndTxnRequest, TxnOffsetCommitRequest
from aiokafka.structs import TopicPartition

from worker import crashpoints
from worker.domain.command import Source
from worker.messages.events import Answer, Event, Kind, dead_letter_event, event_of
from worker.settings import Settings
from worker.stream.connection import client_options, let_go
from worker.tracing import NO_TRACING, Tracing

START_SECONDS = 30.0
EMIT_SECONDS = 25.0
"""Shorter than the client's own retries and than the transaction timeout: on any doubt the producer is thrown away."""

BATCH_BYTES = 480_000
"""A larger single record gets a batch of its own. Above 512 KiB, a request is humongous to the G1 collector of a broker
with a heap of up to 2 GB: those of 560 KB that full batches made took a fifth of the broker's CPU."""

_SENT_ONCE = (TxnOffsetCommitRequest, EndTxnRequest)
"""What the client would send again by itself when a connection breaks, although the first may still arrive, in the
middle of the next transaction of the same epoch (guard B20, KAFKA-17754). EndTxn would then commit half of that one
without its offset, and an old offset would be committed in place of its own. The other requests may be late:
AddPartitions and AddOffsets only add a partition, and the broker knows a Produce by its sequence numbers."""


_Sent = tuple[int, "asyncio.Future[object]"]
"""How many records a batch holds, and its delivery."""


class EmissionFailed(Exception):
    """It is not known whether the results became visible. Throw the emitter away and open the lane again."""


class Unanswered(Exception):
    """A request that must not be sent twice got no answer. No `KafkaError`, upon which the client would try again."""


class Emitter:
    """One producer with the transactional id `<group>.<topic>.<partition>`, which is what fences a zombie."""

    def __init__(self, settings: Settings, topic: str, partition: int, tracing: Tracing = NO_TRACING) -> None:
        self._settings = settings
        self._tracing = tracing
        self._input = TopicPartition(topic, partition)
        self._topics = dict(zip(Kind, settings.result_topics, strict=True))
        self._partitions: dict[str, int] = {}
        self._producer = AIOKafkaProducer(
            **client_options(settings),
            transactional_id=f"{settings.group_id}.{topic}.{partition}",
            transaction_timeout_ms=int(settings.kafka_transaction_timeout_seconds * 1000),
            max_batch_size=BATCH_BYTES,
            max_request_size=4 * 1024 * 1024,
        )
        _send_once(self._producer.client)

    async def start(self) -> None:
        """InitProducerId: the broker ends or aborts whatever the last owner left open, and fences it."""
        async with asyncio.timeout(START_SECONDS):
            await self._producer.start()
            for topic in (*self._topics.values(), self._settings.dead_letter_topic):
                count = len(await self._producer.partitions_for(topic))
                # The same partition as the input: a batch then touches one partition a topic, and order is kept.
                self._partitions[topic] = self._input.partition % count

    async def emit(self, answers: Sequence[Answer], next_offset: int) -> None:
        """Publish answers and commit `next_offset`, in one transaction. Raises `EmissionFailed` on any doubt."""
        try:
            with self._tracing.sending(answers, self._input, self._destination):
                async with asyncio.timeout(EMIT_SECONDS):
                    await self._transaction(answers, next_offset)
        except Exception as error:
            raise EmissionFailed(f"{type(error).__name__}: {error}") from error

    async def _transaction(self, answers: Sequence[Answer], next_offset: int) -> None:
        producer = self._producer
        await producer.begin_transaction()
        crashpoints.reach("begin")
        sent = await self._send(answers)
        await _all_acknowledged(sent)
        crashpoints.reach("acks")
        await producer.send_offsets_to_transaction({self._input: next_offset}, self._settings.group_id)
        crashpoints.reach("offsets")
        commit = asyncio.ensure_future(producer.commit_transaction())
        await asyncio.sleep(0)
        crashpoints.reach("EndTxn sent")
        await commit
        crashpoints.reach("EndTxn answered")

    async def _send(self, answers: Sequence[Answer]) -> list[_Sent]:
        """Hand over record batches; what comes back are their record counts and futures."""
        sent: list[_Sent] = []
        for topic, events in self._by_topic(answers).items():
            builder = self._producer.create_batch()
            for event in events:
                if not _append(builder, event):
                    sent.append(await self._submit(builder, topic))
                    builder = self._producer.create_batch()
                    _append(builder, event)
            sent.append(await self._submit(builder, topic))
        return sent

    async def _submit(self, builder: BatchBuilder, topic: str) -> _Sent:
        builder.close()
        count = builder.record_count()
        future = await self._producer.send_batch(builder, topic, partition=self._partitions[topic])
        crashpoints.reach("k-th send")
        return count, future

    def _destination(self, kind: Kind) -> tuple[str, int]:
        topic = self._topics[kind]
        return topic, self._partitions[topic]

    def _by_topic(self, answers: Sequence[Answer]) -> dict[str, list[Event]]:
        topic, partition = self._input
        by_topic: dict[str, list[Event]] = {}
        for answer in answers:
            by_topic.setdefault(self._topics[answer.kind], []).append(event_of(answer, topic, partition))
            if answer.dead_letter is not None:
                source = Source(topic, partition, answer.offset, answer.appended_ms)
                copy = dead_letter_event(answer.dead_letter, source, self._settings.group_id)
                by_topic.setdefault(self._settings.dead_letter_topic, []).append(copy)
        return by_topic

    async def close(self) -> None:
        """Let go of the connections, whatever state the transaction is in; never aborts (guard B4)."""
        await let_go(self._producer.stop(), 1.5)
        await let_go(self._producer.client.close(), 0.5)


def _send_once(client: AIOKafkaClient) -> None:
    """Make a lost answer to a request of `_SENT_ONCE` the end of this client's transactions."""
    send = client.send

    async def once(node: int, request: object, **options: Any) -> object:
        try:
            return await send(node, request, **options)
        except KafkaError as error:
            if isinstance(request, _SENT_ONCE):
                raise Unanswered(f"{type(request).__name__}: {type(error).__name__}: {error}") from error
            raise

    client.send = once


def _append(builder: BatchBuilder, event: Event) -> bool:
    """False when the batch is full. The first record of a batch always fits, whatever its size."""
    metadata = builder.append(timestamp=None, key=event.key, value=event.value, headers=event.headers)
    return metadata is not None


async def _all_acknowledged(sent: list[_Sent]) -> None:
    """Await and count every send: a commit succeeds even where a send failed (guard B3)."""
    if None in await asyncio.gather(*(delivery for count, delivery in sent if count)):
        raise EmissionFailed("a batch of results was dropped by the client")
