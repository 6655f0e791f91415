"""Databases that have grown: millions of passports by COPY into the real schema, unique indexes and all."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import asyncpg

from tests.benchmark.by_hand import deed
from tests.benchmark.catalogue import product
from tests.benchmark.commands import Shape, commands
from worker.store.gathering import key_id

_CHUNK = 200_000
_PASSPORT = ("id", "company_id", "product_id", "template_id", "gtin", "serial", "created_at", "created_body")
_KEY = ("id", "fingerprint", "passport_id", "created_at")
_SPREAD_SECONDS = 6 * 24 * 3600


async def preload_passports(database_url: str, count: int, shape: Shape) -> None:
    """`count` passports with their idempotency keys, made over the last six days, oldest first."""
    connection = await asyncpg.connect(database_url)
    try:
        for start in range(0, count, _CHUNK):
            rows = range(start, min(start + _CHUNK, count))
            await connection.copy_records_to_table(
                "passport", columns=_PASSPORT, records=_passports(rows, count, shape)
            )
            await connection.copy_records_to_table("idempotency_key", columns=_KEY, records=_keys(rows, count, shape))
        await connection.execute("VACUUM ANALYZE passport, idempotency_key")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def _created_at(number: int, count: int) -> datetime:
    begin = datetime.now(UTC) - timedelta(days=7)
    return begin + timedelta(seconds=_SPREAD_SECONDS * number // count)


def _identity(number: int, count: int) -> tuple[str, datetime]:
    at = _created_at(number, count)
    return f"{int(at.timestamp()):08x}{number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF:016x}", at


def _passports(rows: range, count: int, shape: Shape) -> Iterator[tuple[Any, ...]]:
    """Ids begin with the time, as the worker's; a body of the usual length serves all of them."""
    sample = next(commands(1, shape, 1, "PRELOAD"))
    body = deed("preload", 0, 0, 0, sample.value, dict(sample.headers)).body
    for number in rows:
        one = product(number % shape.companies, number // shape.companies % shape.products)
        identity, at = _identity(number, count)
        owner = (one.company_id, one.product_id, one.template_id)
        yield identity, *owner, one.gtin, f"PRELOADED-{number:09d}", at, body


def _keys(rows: range, count: int, shape: Shape) -> Iterator[tuple[Any, ...]]:
    """Keys are random, as UUIDs are: they arrive all over the index."""
    for number in rows:
        identity, at = _identity(number, count)
        digest = sha256(identity.encode()).digest()
        yield key_id(product(number % shape.companies).company_id, digest.hex()), digest, identity, at
