"""Publishes one signed command and prints its answer: pip install aiokafka 'pyjwt[crypto]'."""

import asyncio
import json
import os
import sys
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import jwt
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
PRIVATE_KEY = Path(os.environ["PASSPORT_SIGNING_KEY"]).read_bytes()  # PEM: passport-worker keys generate FILE
KEY_ID = os.environ["PASSPORT_SIGNING_KID"]  # the "kid" that it prints
ALGORITHM = os.environ.get("PASSPORT_SIGNING_ALG", "EdDSA")  # ES256 for a key of P-256
# Names of topics, which begin with the name of your channel if you have one: acme.dpp.passport.create.v1.
COMMANDS = os.environ.get("PASSPORT_TOPIC_COMMANDS", "dpp.passport.create.v1")
RESULTS = [
    os.environ.get("PASSPORT_TOPIC_CREATED", "dpp.passport.created.v1"),
    os.environ.get("PASSPORT_TOPIC_OVERAGE_REQUIRED", "dpp.passport.overage-required.v1"),
    os.environ.get("PASSPORT_TOPIC_CONFLICT", "dpp.passport.conflict.v1"),
    os.environ.get("PASSPORT_TOPIC_REJECTED", "dpp.passport.rejected.v1"),
]
GTIN = "04012345000016"
AUDIENCE = COMMANDS  # unless the worker's operator names another


def signature(value: bytes, idempotency_key: str) -> bytes:
    digest = urlsafe_b64encode(sha256(value).digest()).rstrip(b"=").decode()
    claims = {"aud": AUDIENCE, "exp": int(time.time()) + 3600, "key": idempotency_key, "sha256": digest}
    header = {"kid": KEY_ID, "typ": "dpp-command+jwt"}
    return jwt.encode(claims, PRIVATE_KEY, ALGORITHM, header, sort_headers=True).encode()


async def produce(key: str, serial: str) -> bytes:
    """Returns the place of the command. Its result has that place in `ce_causationid`."""
    gs1 = {"gtin": GTIN, "serialNumber": serial}
    value = json.dumps({"productId": "6650a1b2c3d4e5f6a7b8c9d0", "gs1": gs1}).encode()
    headers = [("jws-signature", signature(value, key)), ("idempotency-key", key.encode())]
    async with AIOKafkaProducer(bootstrap_servers=SERVERS, enable_idempotence=True, acks="all") as producer:
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
