"""Publishing many commands at once: batches of an idempotent producer, filled by hand, which is cheap."""

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache

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
"""So many choices of a partition are remembered: hashing a key in Python takes as long as all else of a command."""


class Delivery:
    """A batch of `count` commands that were handed over one behind the other."""

    def __init__(self, count: int, acknowledged: "asyncio.Future[RecordMetadata]") -> None:
        self.count = count
        self._acknowledged = acknowledged

    async def first_offset(self) -> int | None:
        """Where the first of them stands; None where the broker has it, and has forgotten where.

        Raises `KafkaError`.
        """
        offset: int = (await self._acknowledged).offset
        return offset if offset >= 0 else None


class CommandBatches:
    """One producer, which is idempotent: a retry after a lost acknowledgement is no second command.

    It gives nothing up, however long a partition has no leader: whoever waits for answers knows when it is too long.
    """

    def __init__(self, settings: Settings) -> None:
        self.topic = settings.topic_commands
        self._producer = AIOKafkaProducer(
            **client_options(settings), enable_idempotence=True, max_batch_size=_BATCH_BYTES
        )
        # Only a partition without a leader makes an idempotent producer give a batch up.
        keep_batches(self._producer)

    async def start(self) -> Callable[[bytes], int]:
        """Connect; the partition of a record key, as Kafka's own clients choose it. Raises `CLUSTER_ERRORS`."""
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._producer.start()
            partitions = sorted(await self._producer.partitions_for(self.topic))
        choose = DefaultPartitioner()
        return lru_cache(_KEYS)(lambda key: int(choose(key, partitions, partitions)))

    async def publish(self, partition: int, commands: Sequence[Event]) -> list[Delivery]:
        """Hand commands over, in order; waits while a batch of the partition waits already. Raises `KafkaError`."""
        batches = [self._producer.create_batch()]
        for key, value, headers in commands:
            if batches[-1].append(timestamp=None, key=key, value=value, headers=headers) is None:
                batches.append(self._producer.create_batch())
                batches[-1].append(timestamp=None, key=key, value=value, headers=headers)
        return [Delivery(one.record_count(), await self._send(one, partition)) for one in batches]

    async def _send(self, batch: BatchBuilder, partition: int) -> "asyncio.Future[RecordMetadata]":
        """However long the broker is away: whoever waits for answers knows when it is too long."""
        while True:
            try:
                sent: asyncio.Future[RecordMetadata]
                sent = await self._producer.send_batch(batch, self.topic, partition=partition)
                return sent
            except KafkaTimeoutError:
                continue

    async def close(self) -> None:
        """Safe to call when it never started; what is not acknowledged by now may be in the topic or not."""
        await close_within(self._producer.stop(), 2.0)
        await close_within(self._producer.client.close(), 0.5)
