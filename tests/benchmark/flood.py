"""A flood of hostile records for one worker process: how large it gets, and that each record has its one result."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import asyncpg
from confluent_kafka import Producer

from tests.benchmark.commands import BenchCommand, produce_all
from tests.benchmark.hostile import KINDS, hostile, largest, largest_catalogue
from tests.benchmark.memory import peak_megabytes
from tests.benchmark.place import Place
from worker.tools.catalogue.load import load_catalogue

_PRODUCTS = 120
_BYTES_A_KIND = 12_000_000
_LEAST_A_KIND = 36


def flood(place: Place) -> float:
    """The peak resident set of a worker that finds all kinds on its topic and answers them, in MB of 10^6 bytes."""
    asyncio.run(_load_largest(place))
    records = list(_records(place.partitions))
    producer = Producer({"bootstrap.servers": place.servers.bootstrap_servers, "message.max.bytes": 2_000_000})
    produce_all(producer, place.settings.topic_commands, iter(records))
    place.sent += len(records)
    with place.reader() as reader:
        worker = place.start("worker", "run")
        place.wait(reader, "hostile records")
        peak = peak_megabytes(worker.pid)
        time.sleep(0.5)  # for results that nobody asked for
        place.stop()
        counted = Counter(one.cause for one in reader.arrivals)
    assert len(counted) == len(records), f"{len(counted)} of {len(records)} records have a result"
    assert set(counted.values()) == {1}, "a record has several results"
    return peak


def _records(partitions: int) -> Iterator[BenchCommand]:
    """The largest passports twice, so that half of them are replayed; then kind after kind."""
    for prefix in ("large", "large"):
        yield from largest(_PRODUCTS // 2, _PRODUCTS, partitions, prefix, odd=False)
    yield from largest(2 * _PRODUCTS, _PRODUCTS, partitions, "refused", odd=True)
    for kind in KINDS:
        yield from hostile(kind, max(_LEAST_A_KIND, _BYTES_A_KIND // size_of(kind)), partitions)


def size_of(kind: str) -> int:
    """About how large a record of a kind is, in bytes."""
    value, headers = KINDS[kind](0)
    return len(value) + sum(len(name) + len(content) + 2 for name, content in headers)


async def _load_largest(place: Place) -> None:
    connection = await asyncpg.connect(place.settings.database_url)
    try:
        await load_catalogue(connection, largest_catalogue(_PRODUCTS))
    finally:
        await connection.close()
