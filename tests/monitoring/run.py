"""A run of two workers to look at: steady load, a backlog, a killed worker, and its return."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from uuid import uuid4

from tests.infrastructure.choose import infrastructure, server_directory
from tests.infrastructure.databases import fresh_database
from tests.monitoring.prometheus import Prometheus
from tests.workbench import Workbench, add_tenant, get, make_workbench, tenant, until
from worker.tools.demo.embedded import HOST, free_port

PARTITIONS = 6
STEADY = 150
"""Commands each half second."""
BACKLOG = 100_000
BEGIN, BURST, KILL, RETURN, END = 15.0, 10.0, 45.0, 65.0, 85.0
"""Seconds: how long before the picture begins, and then what happens when."""
_QUOTA = tenant(20)


@dataclass
class Run:
    """What to look at: from a Unix time on, with marks at seconds after it."""

    prometheus: Prometheus
    started: float
    marks: list[tuple[float, str]] = field(default_factory=list)

    def mark(self, text: str) -> None:
        """Something happens now."""
        self.marks.append((time.time() - self.started, text))

    async def reach(self, seconds: float) -> None:
        """Until so many seconds after the start."""
        await asyncio.sleep(max(0.0, self.started + seconds - time.time()))


@asynccontextmanager
async def run() -> AsyncIterator[Run]:
    """The run is over; Prometheus still answers."""
    ports = [free_port(), free_port()]
    with infrastructure() as servers, server_directory() as folder:
        async with fresh_database(servers.database_url) as url:
            bench = await make_workbench(servers.bootstrap_servers, url, f"run-{uuid4().hex[:6]}", PARTITIONS)
            await _sell_overage(bench)
            with _killed_at_the_end(bench), Prometheus(folder, ports) as prometheus:
                yield await _play(bench, prometheus, ports, folder)


@contextmanager
def _killed_at_the_end(bench: Workbench) -> Iterator[None]:
    try:
        yield
    finally:
        bench.kill_workers()


async def _sell_overage(bench: Workbench) -> None:
    connection = await bench.connect()
    try:
        await add_tenant(connection, _QUOTA, max_dpps=1000, overage_price_cents=75)
    finally:
        await connection.close()


async def _play(bench: Workbench, prometheus: Prometheus, ports: list[int], folder: Path) -> Run:
    victim, _ = (_start(bench, folder, number, port) for number, port in enumerate(ports))
    for port in ports:
        await until(lambda port=port: get(f"http://{HOST}:{port}/readyz")[0] == 200, 60, "a worker is ready")  # type: ignore[misc]
    numbers = count()
    load = asyncio.create_task(_load(bench, numbers))
    await asyncio.sleep(BEGIN)
    run = Run(prometheus, time.time())
    await run.reach(BURST)
    run.mark(f"{BACKLOG:,} commands at once")
    await asyncio.to_thread(bench.publish, [_command(bench, next(numbers)) for _ in range(BACKLOG)])
    await run.reach(KILL)
    run.mark("worker 1 is killed")
    victim.kill()
    await run.reach(RETURN)
    run.mark("worker 1 is back")
    _start(bench, folder, 0, ports[0])
    await run.reach(END)
    load.cancel()
    return run


def _start(bench: Workbench, folder: Path, number: int, port: int) -> subprocess.Popen[bytes]:
    return bench.start_worker(folder / f"worker-{number}.log", PASSPORT_HTTP_PORT=str(port))


async def _load(bench: Workbench, numbers: Iterator[int]) -> None:
    """The same rate for ever."""
    due = time.monotonic()
    while True:
        await asyncio.to_thread(bench.publish, [_command(bench, next(numbers)) for _ in range(STEADY)])
        due += 0.5
        await asyncio.sleep(max(0.0, due - time.monotonic()))


def _command(bench: Workbench, number: int) -> dict[str, object]:
    """Nine in ten are created; the others come twice, are wrong, or are beyond a quota."""
    kind, partition = number % 20, number % PARTITIONS
    if kind == 0:
        return bench.command(tenant(0), 0, f"unit-{number - 7}", partition=partition, productId="nobody's")
    if kind == 1:
        return bench.command(_QUOTA, 20, f"unit-{number}", partition=partition)
    serial = "the same again" if kind == 2 else f"unit-{number}"
    return bench.command(tenant(number % 10), number % 10, serial, partition=partition)
