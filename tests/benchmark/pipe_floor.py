"""The pipe floor: the worker's job by hand with librdkafka, in one process and without rules. Run as a module.

Consume, parse, one set-based Postgres transaction, and a transactional produce with the offsets in the transaction.
"""

from collections.abc import Sequence
from typing import cast

import asyncpg
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from tests.benchmark import loop
from tests.benchmark.by_hand import Deed, deed, make_lanes, write_set
from worker.settings import Settings


async def main() -> None:
    """Batch after batch until killed."""
    settings = Settings()
    consumer, producer = _consumer(settings), _producer(settings)
    connection = await asyncpg.connect(settings.database_url)
    lanes = await make_lanes(connection, settings.group_id, settings.topic_commands, settings.topic_partitions)
    while True:
        messages = consumer.consume(settings.batch_records, 0.05)
        if messages:
            deeds = [_deed(message) for message in messages]
            await write_set(connection, deeds, lanes)
            _publish(producer, consumer, settings.topic_created, deeds)


def _consumer(settings: Settings) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": settings.group_id,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.subscribe([settings.topic_commands])
    return consumer


def _producer(settings: Settings) -> Producer:
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "transactional.id": f"{settings.group_id}.floor",
            "linger.ms": 5,
        }
    )
    producer.init_transactions(60)
    return producer


def _deed(message: Message) -> Deed:
    assert message.error() is None, message.error()
    headers = dict(cast(list[tuple[str, bytes]], message.headers()))
    return deed(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        message.value() or b"",
        headers,
    )


def _publish(producer: Producer, consumer: Consumer, topic: str, deeds: Sequence[Deed]) -> None:
    producer.begin_transaction()
    for one in deeds:
        producer.produce(topic, one.body, one.key, one.partition, headers=list(one.headers))
        producer.poll(0)
    places: list[TopicPartition] = consumer.position(consumer.assignment())
    producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata(), 30)
    producer.commit_transaction(30)


if __name__ == "__main__":
    loop.run(main)
