"""No record and no catalogue makes a worker's process grow."""

import asyncio
from pathlib import Path

import pytest

from tests.benchmark.commands import Shape
from tests.benchmark.flood import flood
from tests.benchmark.place import fresh_place
from tests.benchmark.servers import Servers
from tests.infrastructure.choose import Infrastructure

MOST_MEGABYTES = 200
"""Pods have 512 Mi; a worker at rest has some 90 MB."""


@pytest.mark.long
@pytest.mark.real_kafka
@pytest.mark.timeout(280)
async def test_a_worker_of_six_lanes_stays_small_whatever_comes(servers: Infrastructure, tmp_path: Path) -> None:
    """Many field errors in large and small records, many objects, many headers, megabytes, the largest products.

    Seen to fail while every field error was reported, while a lane held what it liked of records and answers, and
    while look-ups fetched all that a batch named: the process reached 1,300 MB.
    """
    place = Servers(servers.bootstrap_servers, servers.database_url, tmp_path, servers.kind, has_statements=False)

    def measure() -> float:
        with fresh_place(place, Shape()) as one:
            return flood(one)

    assert await asyncio.to_thread(measure) <= MOST_MEGABYTES
