"""Publishes one signed command and prints results until its own is there: pip install aiokafka 'pyjwt[crypto]'."""

import asyncio
import json
import os
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
AUDIENCE = "dpp.passport.create.v1"  # the command topic, unless the worker's operator names another
RESULTS = [f"dpp.passport.{outcome}.v1" for outcome in ("created", "overage-required", "conflict", "rejected")]


def signature(value: bytes, idempotency_key: str) -> bytes:
    digest = urlsafe_b64encode(sha256(value).digest()).rstrip(b"=").decode()
    claims = {"aud": AUDIENCE, "exp": int(time.time()) + 3600, "key": idempotency_key, "sha256": digest}
    header = {"kid": KEY_ID, "typ": "dpp-command+jwt"}
    return jwt.encode(claims, PRIVATE_KEY, ALGORITHM, header, sort_headers=True).encode()


async def produce(key: str) -> None:
    gs1 = {"gtin": "04012345000016", "serialNumber": f"BP-{key[:13]}"}
    value = json.dumps({"productId": "6650a1b2c3d4e5f6a7b8c9d0", "gs1": gs1}).encode()
    headers = [("jws-signature", signature(value, key)), ("idempotency-key", key.encode())]
    async with AIOKafkaProducer(bootstrap_servers=SERVERS, enable_idempotence=True, acks="all") as producer:
        await producer.send_and_wait("dpp.passport.create.v1", value, gs1["gtin"].encode(), headers=headers)


async def consume(until: str) -> None:
    async with AIOKafkaConsumer(
        *RESULTS,
        bootstrap_servers=SERVERS,
        group_id="passport-results",
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    ) as consumer:
        async for result in consumer:
            outcome = dict(result.headers)["ce_type"].decode()
            print(result.key.decode(), outcome, result.value.decode())
            await consumer.commit()
            if result.key.decode() == until:
                return


async def main() -> None:
    key = str(uuid4())
    await produce(key)
    await consume(key)


asyncio.run(main())
