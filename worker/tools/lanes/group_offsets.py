"""Moves a group's offsets from outside, as `kafka-consumer-groups --reset-offsets` does, unless a worker has come."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidProducerIdMapping, ProducerFenced
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from worker.settings import Settings
from worker.stream.aiokafka_internals import drop_failure
from worker.stream.cluster.connection import ANSWER_SECONDS, client_options, close_within
from worker.stream.producer import START_SECONDS, send_once


class Fenced(Exception):
    """A worker has opened the lanes since the mover was listed in their rows. No offset was moved."""


class OffsetMover:
    """Commits offsets in a transaction, under a new transactional id.

    Once the id is listed in the rows of lanes, a worker that opens them fences it before it reads any position. So the
    offsets move before that, or not at all. Nobody could fence a plain commit of a process that slept.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.id = f"{settings.group_id}.{settings.topic_commands}.{uuid4().hex}"
        self._producer = AIOKafkaProducer(
            **client_options(settings),
            transactional_id=self.id,
            transaction_timeout_ms=int(settings.kafka_transaction_timeout_seconds * 1000),
        )
        send_once(self._producer.client)

    async def __aenter__(self) -> Self:
        """Start the producer. Do this before the id is listed, or it would undo a fence. Raises `CLUSTER_ERRORS`."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._producer.start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections. The producer never aborts (guard B4)."""
        await self._close()

    async def move(self, offsets: Mapping[int, int]) -> None:
        """Move the offsets of these partitions of the command topic, all or none. Raises `Fenced`, `CLUSTER_ERRORS`."""
        topic, group_id = self._settings.topic_commands, self._settings.group_id
        # A worker recognizes an offset that it has committed by the text beside it. These get none.
        moved = {TopicPartition(topic, at): OffsetAndMetadata(offset, "") for at, offset in offsets.items()}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._producer.begin_transaction()
                await self._producer.send_offsets_to_transaction(moved, group_id)
                await self._producer.commit_transaction()
        except (ProducerFenced, InvalidProducerIdMapping) as error:
            raise Fenced(f"{self.id} is fenced") from error

    async def _close(self) -> None:
        with suppress(Exception):
            await close_within(self._producer.stop(), 1.5)
            await close_within(self._producer.client.close(), 0.5)
        drop_failure(self._producer)
