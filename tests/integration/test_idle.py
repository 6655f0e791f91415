"""A worker that has nothing to do does next to nothing, also on a broker that answers empty fetches at once."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.infrastructure.choose import Infrastructure, own_server
from tests.workbench import Workbench, get, make_workbench, tenant, until
from worker.tools.demo.embedded import EmbeddedBroker, free_port

IDLE_SECONDS = 5.0
MOST_OF_A_CORE = 0.05


@pytest.fixture
async def bench(servers: Infrastructure, database_url: str, kafka_prefix: str) -> AsyncIterator[Workbench]:
    """A workbench on the demo's broker, with as many partitions as the demo has."""
    with own_server(EmbeddedBroker, "the demo's broker") as broker:
        settings = {"PASSPORT_KAFKA_SESSION_TIMEOUT_SECONDS": "10"}  # it takes none below 6
        bench = await make_workbench(broker.bootstrap_servers, database_url, kafka_prefix, 6, **settings)
        yield bench
        await asyncio.to_thread(bench.kill_workers)


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_an_idle_worker_on_the_demo_broker_rests(bench: Workbench, tmp_path: Path) -> None:
    """At most 5 % of a core; 81 % without `pause_after_fetches`. It still hears what comes."""
    ready = f"http://127.0.0.1:{(port := free_port())}/readyz"
    worker = bench.start_worker(tmp_path / "worker.log", PASSPORT_HTTP_PORT=str(port))
    await until(lambda: get(ready)[0] == 200, 30, "the worker is ready")
    before = _cpu_seconds(worker.pid)
    await asyncio.sleep(IDLE_SECONDS)
    assert _cpu_seconds(worker.pid) - before <= MOST_OF_A_CORE * IDLE_SECONDS
    bench.publish([bench.command(tenant(1), 1, "alone", partition=0)])
    await bench.wait_for_results(1, 20)
