"""Backups by the scripts of `deploy/scripts`: a lost server is restored, and then lacks nothing that was published."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.infrastructure.archiving import ArchivingPostgres, run_script
from tests.infrastructure.choose import Infrastructure, own_server
from tests.invariants import check_invariants
from tests.operations.asking import ask
from tests.operations.mixture import limit_tenants, mixture
from tests.workbench import Workbench, make_workbench, until

pytestmark = pytest.mark.real_kafka

PIECE = 400


@pytest.fixture
def archiving() -> Iterator[ArchivingPostgres]:
    """A server with an archive."""
    with own_server(ArchivingPostgres, "a PostgreSQL") as postgres:
        yield postgres


@pytest.fixture
async def backed_up(
    servers: Infrastructure, archiving: ArchivingPostgres, kafka_prefix: str
) -> AsyncIterator[Workbench]:
    """A workbench on that server."""
    bench = await make_workbench(servers.bootstrap_servers, archiving.url, kafka_prefix)
    await limit_tenants(bench)
    yield bench
    await asyncio.to_thread(bench.kill_workers)


async def _answered(bench: Workbench) -> int:
    connection = await bench.connect()
    try:
        return int(await connection.fetchval("SELECT count(*) FROM ledger"))
    finally:
        await connection.close()


@pytest.mark.long
async def test_a_lost_server_is_restored_to_a_moment(
    backed_up: Workbench, archiving: ArchivingPostgres, tmp_path: Path
) -> None:
    """A base backup under load, more commands, and the disk is gone; meanwhile a worker and the producers go on."""
    bench, log, sent = backed_up, tmp_path / "worker.log", 0

    def publish() -> None:
        nonlocal sent
        bench.publish(mixture(1, PIECE, sent))
        sent += PIECE

    bench.start_worker(log)
    publish()
    await bench.wait_for_results(1)
    backing_up = asyncio.create_task(asyncio.to_thread(archiving.back_up, bench.environment))
    while not backing_up.done():
        await asyncio.to_thread(publish)
    backup = await backing_up
    await bench.wait_for_results(sent, 120)
    moment, at_the_moment = datetime.now(UTC), await _answered(bench)
    publish()
    await bench.wait_for_results(sent)
    await archiving.archive_all()
    archiving.lose()
    publish()
    archiving.restore(backup, moment)
    assert await _answered(bench) == at_the_moment == sent - 2 * PIECE
    await until(lambda: log.read_text().count('"lane_halted"') >= 2, 60, "halted lanes")
    run_script("recover.sh", bench.environment, "the disk broke")
    await bench.wait_for_results(sent, 90)
    await check_invariants(bench)
    assert (await ask(bench, "audit")).code == 0
