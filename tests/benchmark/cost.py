"""What a created passport costs Postgres, with as many fields as the seed's template: WAL, bytes on disk and CPU."""

import asyncio
from dataclasses import dataclass

from tests.benchmark.memory import CpuWatch
from tests.benchmark.place import Place
from tests.benchmark.throughput import WORKER, answer_backlog, begin

FIELDS = 52
_STATE = """
SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS wal,
       pg_total_relation_size('passport') + pg_total_relation_size('passport_frame') AS passports,
       (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('idempotency_key') WHERE isleaf) AS keys,
       (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('ledger') WHERE isleaf) AS ledger
"""
_PIDS = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"


@dataclass(frozen=True)
class Cost:
    """Of each command: bytes, by where they go, and microseconds of the server's and of the worker's CPU."""

    wal: float
    passports: float
    keys: float
    ledger: float
    postgres_microseconds: float | None
    worker_microseconds: float
    per_second: float


def cost(place: Place, count: int) -> Cost:
    """Measured over `count` commands that wait, each of which creates a passport.

    The server's CPU is None where its processes are not on this machine.
    """
    with place.reader() as reader:
        begin(place, WORKER, reader)
        before, pids = asyncio.run(_look(place))
        try:
            server = CpuWatch(pids)
        except OSError:
            server = None
        speed = answer_backlog(place, reader, count)
        microseconds = None if server is None else server.seconds() / count * 1e6
        after, _ = asyncio.run(_look(place))
    grown = {name: (after[name] - before[name]) / count for name in after}
    return Cost(
        **grown,
        postgres_microseconds=microseconds,
        worker_microseconds=speed.cpu_microseconds,
        per_second=speed.per_second,
    )


async def _look(place: Place) -> tuple[dict[str, float], list[int]]:
    (row,) = await place.fetch(_STATE)
    pids = [one["pid"] for one in await place.fetch(_PIDS)]
    return {name: float(value) for name, value in row.items()}, pids
