"""The Postgres floor: only the set-based transactions, on one connection; everything else was done before."""

import asyncio
import time

import asyncpg

from tests.benchmark.by_hand import Deed, deed, make_lanes, write_set
from tests.benchmark.place import Place

_BATCH = 2000


def postgres_rate(place: Place, count: int) -> float:
    """Commands a second whose rows can be written in batches as large as the worker's."""
    return asyncio.run(_rate(place, _deeds(place, count)))


def _deeds(place: Place, count: int) -> list[Deed]:
    now_ms = int(time.time() * 1000)
    return [
        deed("floor", one.partition, offset, now_ms, one.value, dict(one.headers))
        for offset, one in enumerate(place.stream(count))
    ]


async def _rate(place: Place, deeds: list[Deed]) -> float:
    connection = await asyncpg.connect(place.settings.database_url)
    try:
        lanes = await make_lanes(connection, place.token, "floor", place.partitions)
        batches = [deeds[start : start + _BATCH] for start in range(0, len(deeds), _BATCH)]
        started = time.monotonic()
        for batch in batches:
            await write_set(connection, batch, lanes)
        return len(deeds) / (time.monotonic() - started)
    finally:
        await connection.close()
