"""Publishes one command and prints its answer: pip install confluent-kafka."""

import json
import os
import sys
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
API_KEY = os.environ.get("PASSPORT_API_KEY", "tp_demo_eurobat_mes_1")
# Names of topics, which begin with the name of your channel if you have one: acme.dpp.passport.create.v1.
COMMANDS = os.environ.get("PASSPORT_TOPIC_COMMANDS", "dpp.passport.create.v1")
RESULTS = [
    os.environ.get("PASSPORT_TOPIC_CREATED", "dpp.passport.created.v1"),
    os.environ.get("PASSPORT_TOPIC_OVERAGE_REQUIRED", "dpp.passport.overage-required.v1"),
    os.environ.get("PASSPORT_TOPIC_CONFLICT", "dpp.passport.conflict.v1"),
    os.environ.get("PASSPORT_TOPIC_REJECTED", "dpp.passport.rejected.v1"),
]
GTIN = "04012345000016"


def produce(key: str, serial: str) -> bytes:
    """Returns the place of the command. Its result has that place in `ce_causationid`."""
    places = []

    def delivered(error, message) -> None:
        if error is not None:
            raise KafkaException(error)
        places.append(f"{message.topic()}/{message.partition()}/{message.offset()}".encode())

    gs1 = {"gtin": GTIN, "serialNumber": serial}
    body = {"productId": "6650a1b2c3d4e5f6a7b8c9d0", "gs1": gs1}
    headers = [("authorization", f"Bearer {API_KEY}"), ("idempotency-key", key)]
    producer = Producer({"bootstrap.servers": SERVERS, "enable.idempotence": True, "acks": "all"})
    producer.produce(COMMANDS, json.dumps(body), GTIN, headers=headers, on_delivery=delivered)
    producer.flush()
    return places[0]


def results_from_here() -> Consumer:
    """Reads from the end on: it meets no earlier answers. A service that wants all: schemas/read-results.md."""
    options = {"isolation.level": "read_committed", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": SERVERS, "group.id": "not joined", **options})
    topics = consumer.list_topics(timeout=10).topics  # without it, a broker that is away blocks Ctrl-C, too
    logs = [TopicPartition(topic, partition) for topic in RESULTS for partition in topics[topic].partitions]
    ends = [consumer.get_watermark_offsets(log, timeout=10)[1] for log in logs]
    consumer.assign([TopicPartition(log.topic, log.partition, end) for log, end in zip(logs, ends, strict=True)])
    return consumer


def print_answer(results: Consumer, key: str, place: bytes) -> None:
    while True:
        result = results.poll(1.0)
        if result is None:
            continue
        if (error := result.error()) is not None:
            if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                continue  # the library asks for the group, although the program does not join it
            raise KafkaException(error)
        headers = dict(result.headers())
        if headers.get("ce_causationid") == place:  # others may use the same key
            print(key, headers["ce_type"].decode(), result.value().decode())
            return


serial = sys.argv[1] if len(sys.argv) > 1 else f"BP-{str(uuid4())[:13]}"
key = f"{GTIN}-{serial}"  # made from the unit: a program that starts again sends the same key
results = results_from_here()  # before the command is sent, so that its answer lies behind
place = produce(key, serial)
print_answer(results, key, place)
results.close()
