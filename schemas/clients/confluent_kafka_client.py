"""Publishes one command and prints results until its own is there: pip install confluent-kafka."""

import json
import os
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, Producer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
API_KEY = os.environ.get("PASSPORT_API_KEY", "tp_demo_eurobat_mes_1")
RESULTS = [f"dpp.passport.{outcome}.v1" for outcome in ("created", "overage-required", "conflict", "rejected")]


def delivered(error, message) -> None:
    if error is not None:
        raise KafkaException(error)


def produce(key: str) -> None:
    gs1 = {"gtin": "04012345000016", "serialNumber": f"BP-{key[:13]}"}
    body = {"productId": "6650a1b2c3d4e5f6a7b8c9d0", "gs1": gs1}
    headers = [("authorization", f"Bearer {API_KEY}"), ("idempotency-key", key)]
    producer = Producer({"bootstrap.servers": SERVERS, "enable.idempotence": True, "acks": "all"})
    producer.produce("dpp.passport.create.v1", json.dumps(body), gs1["gtin"], headers=headers, on_delivery=delivered)
    producer.flush()


def consume(until: str) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": SERVERS,
            "group.id": "passport-results",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe(RESULTS)
    key = None
    while key != until:
        result = consumer.poll(1.0)
        if result is None:
            continue
        if result.error():
            raise KafkaException(result.error())
        key, outcome = result.key().decode(), dict(result.headers())["ce_type"].decode()
        print(key, outcome, result.value().decode())
        consumer.commit(result, asynchronous=False)
    consumer.close()


key = str(uuid4())
produce(key)
consume(key)
