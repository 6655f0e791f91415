"""A membership that ends while the broker is away is followed by another; the worker stays."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.infrastructure.kafka import LocalKafka
from worker.settings import Settings
from worker.stream.connection import client_options, let_go

pytestmark = pytest.mark.real_kafka


async def test_a_consumer_that_closes_during_an_outage_cancels_nobody(own_kafka: LocalKafka) -> None:
    """aiokafka lets a stray CancelledError out of `stop`; awaited directly, it ended the worker with exit code 0."""
    options = client_options(Settings(kafka_bootstrap_servers=own_kafka.bootstrap_servers))
    admin = AdminClient({"bootstrap.servers": own_kafka.bootstrap_servers})
    admin.create_topics([NewTopic("commands", 1, 1)])["commands"].result(20)
    consumer = AIOKafkaConsumer("commands", **{**options, "retry_backoff_ms": 300})
    await consumer.start()
    await asyncio.sleep(0.3)
    own_kafka.kill()
    await asyncio.sleep(0.1)
    try:
        await let_go(consumer.stop(), 5.0)
    finally:
        own_kafka.start()
