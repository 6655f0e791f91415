"""Databases that have grown: millions of passports by COPY into the real schema, unique indexes and all."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import asyncpg

from tests.benchmark.by_hand import Deed, deed, numbers_of_companies, write_frames
from tests.benchmark.catalogue import product
from tests.benchmark.commands import Shape, commands
from tests.workbench import make_past_day
from worker.store.facts import key_id
from worker.store.sql import Connection

_CHUNK = 200_000
_PASSPORT = ("id", "company_number", "gtin", "serial", "created_at", "frame_id")
_KEY = ("id", "day", "fingerprint", "passport_id", "created_at", "company_number")
_SPREAD_DAYS = 7


async def preload_passports(database_url: str, count: int, shape: Shape) -> None:
    """`count` passports with their idempotency keys, made over the last seven days until now, oldest first."""
    connection = await asyncpg.connect(database_url)
    try:
        await _make_days(connection)
        await write_frames(connection, [_sample(shape)])
        numbers = await numbers_of_companies(connection)
        until = datetime.now(UTC)
        for start in range(0, count, _CHUNK):
            made = [_made(number, count, until) for number in range(start, min(start + _CHUNK, count))]
            await connection.copy_records_to_table(
                "passport", columns=_PASSPORT, records=_passports(made, shape, numbers)
            )
            await connection.copy_records_to_table("idempotency_key", columns=_KEY, records=_keys(made, shape, numbers))
        await connection.execute("VACUUM ANALYZE passport, idempotency_key")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def _make_days(connection: Connection) -> None:
    """The partitions of keys from before yesterday, which a database that is new does not have."""
    today = datetime.now(UTC).date()
    for age in range(2, _SPREAD_DAYS + 1):
        await make_past_day(connection, "idempotency_key", today - timedelta(days=age))


_Made = tuple[int, str, datetime]
"""Number of a passport, its id, and when it was made. Ids begin with the time, as the worker's."""


def _made(number: int, count: int, until: datetime) -> _Made:
    at = until - timedelta(days=_SPREAD_DAYS) * (count - number) / count
    return number, f"{int(at.timestamp()):08x}{number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF:016x}", at


def _passports(made: Sequence[_Made], shape: Shape, numbers: Mapping[str, int]) -> Iterator[tuple[Any, ...]]:
    """One frame serves all of them, as the passports of a product have one together."""
    frame = _sample(shape).frame
    for number, identity, at in made:
        one = product(number % shape.companies, number // shape.companies % shape.products)
        unit = f"PRELOADED-{number:09d}"
        yield bytes.fromhex(identity), numbers[one.company_id], one.gtin, unit, at, frame.id


def _sample(shape: Shape) -> Deed:
    command = next(commands(1, shape, 1, "PRELOAD"))
    return deed("preload", 0, 0, 0, command.value, dict(command.headers))


def _keys(made: Sequence[_Made], shape: Shape, numbers: Mapping[str, int]) -> Iterator[tuple[Any, ...]]:
    """Keys are random, as UUIDs are: they arrive all over the index of their day."""
    for number, identity, at in made:
        digest = sha256(identity.encode()).digest()
        company_id = product(number % shape.companies).company_id
        key = key_id(company_id, digest.hex())
        yield key, at.date(), digest, bytes.fromhex(identity), at, numbers[company_id]
