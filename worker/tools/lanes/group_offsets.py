"""Moving a group's offsets from outside, as `kafka-consumer-groups --reset-offsets` does, unless others have come."""

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
    """Somebody has opened the lanes since the mover was listed in their rows; no offset was moved."""


class OffsetMover:
    """Commits offsets in a transaction, with an id of its own that nobody had before.

    Once the id is listed in the rows of lanes, a worker that opens them fences it before it reads any position. So the
    offsets move before that, or not at all. A plain commit has no fence: a process that slept would move them later.
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
        """InitProducerId: has to come before the id is listed, or it would undo a fence. Raises `CLUSTER_ERRORS`."""
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
        """Its connections are closed; it never aborts (guard B4)."""
        await self._close()

    async def move(self, offsets: Mapping[int, int]) -> None:
        """Of these partitions of the command topic, all or none. Raises `Fenced` and `CLUSTER_ERRORS`.

        They get no text beside them, by which workers tell what they have committed themselves.
        """
        topic, group_id = self._settings.topic_commands, self._settings.group_id
        places = {TopicPartition(topic, one): OffsetAndMetadata(at, "") for one, at in offsets.items()}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._producer.begin_transaction()
                await self._producer.send_offsets_to_transaction(places, group_id)
                await self._producer.commit_transaction()
        except (ProducerFenced, InvalidProducerIdMapping) as error:
            raise Fenced(f"{self.id} is fenced") from error

    async def _close(self) -> None:
        with suppress(Exception):
            await close_within(self._producer.stop(), 1.5)
            await close_within(self._producer.client.close(), 0.5)
        drop_failure(self._producer)
