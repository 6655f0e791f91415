"""Publishes many commands at once, in batches that are filled by hand, which costs little CPU."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from worker.messages.events import Event
from worker.settings import Settings
from worker.stream.aiokafka_internals import keep_batches
from worker.stream.cluster.connection import ANSWER_SECONDS, client_options, close_within

_BATCH_BYTES = 256 * 1024
_KEYS = 16_384
"""Keys whose partition is cached: hashing a key in Python takes as long as everything else."""


class Delivery(NamedTuple):
    """A batch of consecutive commands: their number, and the place of the first one, which may be a `KafkaError`."""

    commands: int
    acknowledged: "asyncio.Future[RecordMetadata]"


class CommandBatches:
    """An idempotent producer, so that a retry after a lost acknowledgement sends no second command.

    It never gives up on a partition without a leader: the caller waits for answers, and decides when to stop.
    """

    def __init__(self, settings: Settings) -> None:
        self.topic = settings.topic_commands
        self._producer = AIOKafkaProducer(
            **client_options(settings), enable_idempotence=True, max_batch_size=_BATCH_BYTES
        )
        # An idempotent producer gives up a batch only if its partition has no leader.
        keep_batches(self._producer)

    async def start(self) -> Callable[[bytes], int]:
        """Connect. Returns the partitioner of Kafka's own clients, for record keys. Raises `CLUSTER_ERRORS`."""
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._producer.start()
            partitions = sorted(await self._producer.partitions_for(self.topic))
        choose = DefaultPartitioner()
        return lru_cache(_KEYS)(lambda key: int(choose(key, partitions, partitions)))

    async def publish(self, partition: int, commands: Sequence[Event]) -> list[Delivery]:
        """Send commands in order. Waits while the partition has an unsent batch. Raises `KafkaError`."""
        batches = [self._producer.create_batch()]
        for key, value, headers in commands:
            if batches[-1].append(timestamp=None, key=key, value=value, headers=headers) is None:
                # None: the batch is full. An empty batch takes any record, however large it is.
                batches.append(self._producer.create_batch())
                batches[-1].append(timestamp=None, key=key, value=value, headers=headers)
        return [Delivery(batch.record_count(), await self._send(batch, partition)) for batch in batches]

    async def _send(self, batch: BatchBuilder, partition: int) -> "asyncio.Future[RecordMetadata]":
        while True:  # however long the broker is away: the caller decides when to stop
            with suppress(KafkaTimeoutError):
                sent: asyncio.Future[RecordMetadata]
                sent = await self._producer.send_batch(batch, self.topic, partition=partition)
                return sent

    async def close(self) -> None:
        """Stop; safe before `start`. Commands without acknowledgement may or may not be in the topic."""
        await close_within(self._producer.stop(), 2.0)
        await close_within(self._producer.client.close(), 0.5)
