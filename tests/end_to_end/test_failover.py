"""Postgres fails over to a standby: one that has every acknowledged commit, and one that lacks some."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from tests.infrastructure.archiving import run_script
from tests.infrastructure.choose import Infrastructure, own_server
from tests.infrastructure.link import Link
from tests.infrastructure.postgres import local_postgres
from tests.infrastructure.standby import Standby, either, have_commits_wait, standby_of
from tests.invariants import check_invariants
from tests.operations.asking import ask
from tests.operations.mixture import limit_tenants, mixture
from tests.workbench import Workbench, make_workbench, settings_of, until
from worker.tools.demo.embedded import EmbeddedPostgres

pytestmark = pytest.mark.real_kafka

PIECE = 500


@dataclass
class Pair:
    """A primary, its standby, the network between them, and a worker that looks for whichever takes writes."""

    bench: Workbench
    primary: EmbeddedPostgres
    standby: Standby
    link: Link
    log: Path
    sent: int = 0

    def publish(self) -> None:
        """Some hundred commands more."""
        self.bench.publish(mixture(2, PIECE, self.sent))
        self.sent += PIECE

    async def fail_over(self) -> None:
        """The primary is killed, and never comes back."""
        await asyncio.to_thread(self.primary.kill)
        await self.standby.promote()


@pytest.fixture
async def pair(servers: Infrastructure, kafka_prefix: str, tmp_path: Path) -> AsyncIterator[Pair]:
    """Both in step, and the worker at work."""
    with own_server(local_postgres, "a PostgreSQL") as primary:
        bench = await make_workbench(servers.bootstrap_servers, primary.url, kafka_prefix)
        await limit_tenants(bench)
        async with Link(primary.port) as link, standby_of(primary.url, link.port) as standby:
            bench.environment["PASSPORT_DATABASE_URL"] = either(primary.url, standby.url)
            bench.settings = settings_of(bench.environment)
            pair = Pair(bench, primary, standby, link, tmp_path / "worker.log")
            bench.start_worker(pair.log)
            await until(lambda: pair.log.read_text().count('"lane_open"') == 2, 30, "open lanes")
            yield pair
            await asyncio.to_thread(bench.kill_workers)


async def test_a_synchronous_standby_has_all_that_was_published(pair: Pair) -> None:
    """The primary is killed under load: the worker goes on by itself, and nothing is lost or doubled."""
    bench = pair.bench
    await have_commits_wait(pair.primary.url)
    fails_over = asyncio.create_task(_fail_over_once_it_works(pair))
    while not fails_over.done():
        await asyncio.to_thread(pair.publish)
        await asyncio.sleep(0.1)
    await fails_over
    await bench.wait_for_results(pair.sent, 90)
    await check_invariants(bench)
    log = pair.log.read_text()
    assert '"database_is_another"' in log
    assert '"lane_halted"' not in log
    assert (await ask(bench, "audit")).code == 0


async def _fail_over_once_it_works(pair: Pair) -> None:
    await pair.bench.wait_for_results(2 * PIECE)
    await pair.fail_over()


@pytest.mark.long
async def test_nothing_is_published_that_the_synchronous_standby_lacks(pair: Pair) -> None:
    """It is silent for so long that the worker gives up waits for COMMIT, which then stand on the primary alone.

    PostgreSQL tells other sessions of such commits. The worker may not publish them, as the failover shows.
    """
    bench = pair.bench
    await have_commits_wait(pair.primary.url)
    pair.publish()
    await bench.wait_for_results(pair.sent)
    pair.link.silence(requests=True, answers=True)
    pair.publish()
    await asyncio.sleep(40)
    assert len(bench.results()) == PIECE
    pair.link.cut()
    await pair.fail_over()
    await bench.wait_for_results(pair.sent, 90)
    await check_invariants(bench)
    assert '"lane_halted"' not in pair.log.read_text()


async def test_an_old_primary_that_comes_back_makes_lanes_halt(pair: Pair) -> None:
    """Nobody kept it off, and it stands first in the URL: a new worker finds it, and halts before it writes anything.

    Once the old primary is off again, lanes go on by themselves.
    """
    bench = pair.bench
    await have_commits_wait(pair.primary.url)
    pair.publish()
    await bench.wait_for_results(pair.sent)
    await pair.fail_over()
    pair.publish()
    await bench.wait_for_results(pair.sent, 90)
    await asyncio.to_thread(bench.kill_workers)
    await _have_no_commit_wait(pair.primary)
    bench.start_worker(pair.log)
    await until(lambda: pair.log.read_text().count('"lane_halted"') >= 2, 60, "halted lanes")
    pair.publish()
    await asyncio.sleep(5)
    assert len(bench.results()) == pair.sent - PIECE
    await asyncio.to_thread(pair.primary.kill)
    await bench.wait_for_results(pair.sent, 90)
    await check_invariants(bench)
    assert (await ask(bench, "audit")).code == 0


async def _have_no_commit_wait(primary: EmbeddedPostgres) -> None:
    """Start it again, alone: nothing but the positions of lanes is in the way of a worker."""
    await asyncio.to_thread(primary.start)
    connection = await asyncpg.connect(primary.url)
    await connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


@pytest.mark.long
async def test_lanes_halt_on_a_standby_that_lacks_commits_until_they_are_recovered(pair: Pair) -> None:
    """The standby was cut off for a while, and commits did not wait for it: `lanes recover` brings them back."""
    bench = pair.bench
    pair.publish()
    await bench.wait_for_results(pair.sent)
    pair.link.silence(requests=True, answers=True)
    pair.publish()
    await bench.wait_for_results(pair.sent)
    pair.link.cut()
    await pair.fail_over()
    pair.publish()
    await until(lambda: pair.log.read_text().count('"lane_halted"') >= 2, 60, "halted lanes")
    lost = await ask(bench, "lanes")
    assert {lane["state"] for lane in lost.report["lanes"]} == {"halted"}
    await asyncio.to_thread(run_script, "recover.sh", bench.environment, "failed over to a standby that was behind")
    await bench.wait_for_results(pair.sent, 90)
    await check_invariants(bench)
    assert (await ask(bench, "audit")).code == 0
