"""Publishes one command and prints its answer: pip install aiokafka."""

import asyncio
import json
import os
import sys
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

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


async def produce(key: str, serial: str) -> bytes:
    """Returns the place of the command. Its result has that place in `ce_causationid`."""
    gs1 = {"gtin": GTIN, "serialNumber": serial}
    body = {"productId": "6650a1b2c3d4e5f6a7b8c9d0", "gs1": gs1}
    headers = [("authorization", f"Bearer {API_KEY}".encode()), ("idempotency-key", key.encode())]
    async with AIOKafkaProducer(bootstrap_servers=SERVERS, enable_idempotence=True, acks="all") as producer:
        value = json.dumps(body).encode()
        sent = await producer.send_and_wait(COMMANDS, value, GTIN.encode(), headers=headers)
    return f"{sent.topic}/{sent.partition}/{sent.offset}".encode()


async def print_answer(results: AIOKafkaConsumer, key: str, place: bytes) -> None:
    async for result in results:
        headers = dict(result.headers)
        if headers.get("ce_causationid") == place:  # others may use the same key
            print(key, headers["ce_type"].decode(), result.value.decode())
            return


async def main() -> None:
    serial = sys.argv[1] if len(sys.argv) > 1 else f"BP-{str(uuid4())[:13]}"
    key = f"{GTIN}-{serial}"  # made from the unit: a program that starts again sends the same key
    # No group, from the end on: it meets no earlier answers. A service that wants all: schemas/read-results.md.
    async with AIOKafkaConsumer(*RESULTS, bootstrap_servers=SERVERS, isolation_level="read_committed") as results:
        await results.seek_to_end()  # before the command is sent, so that its answer lies behind
        place = await produce(key, serial)
        await print_answer(results, key, place)


asyncio.run(main())
