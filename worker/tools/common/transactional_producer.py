"""A transactional producer outside of a worker's session, for verbs that publish or move offsets once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaProducer

from worker.settings import Settings
from worker.stream.aiokafka_internals import drop_failure
from worker.stream.cluster.connection import client_options, close_within
from worker.stream.producer import START_SECONDS, send_once


@asynccontextmanager
async def transactional_producer(
    settings: Settings, transactional_id: str, end_sent: str = "EndTxn sent", **options: Any
) -> AsyncIterator[AIOKafkaProducer]:
    """Start a producer under this id: that fences its predecessor, and ends what the predecessor had open.

    Raises `CLUSTER_ERRORS`. Closing never aborts a transaction (guard B4); the next producer under the id does.
    """
    producer = AIOKafkaProducer(
        **client_options(settings),
        transactional_id=transactional_id,
        transaction_timeout_ms=int(settings.kafka_transaction_timeout_seconds * 1000),
        **options,
    )
    # A client that sends EndTxn again may end the next transaction with it (guard B20).
    send_once(producer.client, end_sent)
    try:
        async with asyncio.timeout(START_SECONDS):
            await producer.start()
        yield producer
    finally:
        with suppress(Exception):
            await close_within(producer.stop(), 1.5)
            await close_within(producer.client.close(), 0.5)
        drop_failure(producer)
