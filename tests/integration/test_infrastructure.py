"""The servers that the other tests stand on do what those tests need."""

import asyncio

import asyncpg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.infrastructure.kafka import LocalKafka
from worker.demo.embedded import EmbeddedPostgres

pytestmark = pytest.mark.real_kafka


async def test_postgres_keeps_its_data_over_a_crash(own_postgres: EmbeddedPostgres) -> None:
    """What was committed before SIGKILL is there after a new start on the same port."""
    connection = await asyncpg.connect(own_postgres.url)
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    own_postgres.kill()
    own_postgres.start()
    connection = await asyncpg.connect(own_postgres.url)
    assert await connection.fetchval("SELECT number FROM kept") == 7
    await connection.close()


async def test_a_frozen_postgres_answers_nothing_and_a_thawed_one_goes_on(own_postgres: EmbeddedPostgres) -> None:
    """A frozen server keeps the connection open but does not answer."""
    connection = await asyncpg.connect(own_postgres.url)
    own_postgres.freeze()
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(query := asyncio.ensure_future(connection.fetchval("SELECT 1"))), 0.5)
    finally:
        own_postgres.thaw()
    assert await query == 1
    await connection.close()


def test_kafka_keeps_its_data_over_a_crash(own_kafka: LocalKafka) -> None:
    """Topics and records written before SIGKILL are there after a new start on the same port."""
    admin = AdminClient({"bootstrap.servers": own_kafka.bootstrap_servers})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(20)
    producer = Producer({"bootstrap.servers": own_kafka.bootstrap_servers})
    producer.produce("kept", b"value")
    assert producer.flush(20) == 0
    own_kafka.kill()
    own_kafka.start()
    assert "kept" in AdminClient({"bootstrap.servers": own_kafka.bootstrap_servers}).list_topics(timeout=20).topics
