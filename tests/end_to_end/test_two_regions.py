"""One installation per region: two of them on one broker, with topics, group, database and companies of their own."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.invariants import check_invariants
from tests.workbench import REPOSITORY, Workbench, make_workbench, settings_of, tenant, topic_environment
from worker.tools.demo.embedded import EmbeddedPostgres

pytestmark = pytest.mark.real_kafka

EAST_TENANTS, WEST_TENANTS = range(3), range(3, 6)
HALF = 1500


@dataclass
class Region:
    """An installation, and the numbers of its companies."""

    bench: Workbench
    tenants: range
    log: Path
    published: int = 0

    def start_worker(self) -> subprocess.Popen[bytes]:
        """With settings of the environment alone, as an operator gives them."""
        return self.bench.start_worker(self.log)

    def publish(self, count: int, of: range | None = None) -> None:
        """So many commands, to all partitions, of its own companies or of those."""
        numbers, start = of or self.tenants, self.published
        self.bench.publish(
            {
                **self.bench.command(tenant(number := numbers[n % 3]), number, f"u{n}", key=f"k{n}"),
                "partition": n % self.bench.settings.topic_partitions,
            }
            for n in range(start, start + count)
        )
        self.published += count

    async def has_answered(self) -> None:
        """Until each command has its one result, as every invariant says of this installation alone."""
        await self.bench.wait_for_results(self.published, 120)
        assert len(await check_invariants(self.bench)) == self.published


@dataclass
class Regions:
    """Both; the database of the second is the test's own to stop."""

    east: Region
    west: Region
    database_of_west: EmbeddedPostgres


@pytest.fixture
async def regions(
    servers: Infrastructure, database_url: str, own_postgres: EmbeddedPostgres, kafka_prefix: str, tmp_path: Path
) -> AsyncIterator[Regions]:
    """Without workers as yet."""
    async with fresh_database(own_postgres.url) as url_of_west:
        kafka = servers.bootstrap_servers
        east = await make_workbench(kafka, database_url, f"east.{kafka_prefix}")
        west = await make_workbench(kafka, url_of_west, f"west.{kafka_prefix}")
        await _keep_only(east, EAST_TENANTS)
        await _keep_only(west, WEST_TENANTS)
        yield Regions(
            Region(east, EAST_TENANTS, tmp_path / "east.log"),
            Region(west, WEST_TENANTS, tmp_path / "west.log"),
            own_postgres,
        )
        await asyncio.to_thread(east.kill_workers)
        await asyncio.to_thread(west.kill_workers)


async def _keep_only(bench: Workbench, tenants: range) -> None:
    """A region's catalogue has its own companies alone."""
    connection = await bench.connect()
    ours = [tenant(number).company_id for number in tenants]
    await connection.execute(
        "DELETE FROM company_usage USING company c WHERE c.number = company_number AND c.id <> ALL($1)", ours
    )
    for table in ("product", "api_key", "company"):
        owner = "id" if table == "company" else "company_id"
        await connection.execute(f"DELETE FROM {table} WHERE {owner} <> ALL($1)", ours)
    await connection.close()


def test_the_page_names_what_is_a_regions_own() -> None:
    """Just the settings that differ between the installations of these tests, each with the region's name."""
    page = (REPOSITORY / "deploy" / "scale.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```ini\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    told = dict(line.split("=", 1) for line in block.splitlines())
    ours = topic_environment("east", 6).keys() - {"PASSPORT_TOPIC_PARTITIONS"}
    assert told.keys() == {"PASSPORT_DATABASE_URL", *ours}
    assert all("east" in value for value in told.values())
    assert settings_of(told).topic_commands == "east.dpp.passport.create.v1"


async def test_a_command_for_the_other_regions_company_is_refused(regions: Regions) -> None:
    """Its key is unknown here (rule 2): 401, which tells nothing of the company; there, the same command creates."""
    east, west = regions.east, regions.west
    for region in (east, west):
        region.start_worker()
        region.publish(30, WEST_TENANTS)
        await region.has_answered()
    for refused in east.bench.results():
        assert east.bench.label_of(refused.topic) == "rejected"
        assert refused.body == {"error": "Unauthorized", "status": 401}
        assert refused.header("ce_companyid") is None
    assert {west.bench.label_of(one.topic) for one in west.bench.results()} == {"created"}


@pytest.mark.parametrize("killed", [pytest.param("east", marks=pytest.mark.repeat), "west"])
async def test_each_keeps_its_promise_while_the_others_worker_is_killed(regions: Regions, killed: str) -> None:
    """SIGKILL in the middle of a load: the other answers all meanwhile, and what was killed goes on where it was."""
    victim, other = (regions.east, regions.west) if killed == "east" else (regions.west, regions.east)
    worker = victim.start_worker()
    other.start_worker()
    victim.publish(HALF)
    other.publish(HALF)
    await victim.bench.wait_for_results(100)
    victim.publish(HALF)
    worker.kill()
    worker.wait(10)
    other.publish(HALF)
    await other.has_answered()
    assert len(victim.bench.results()) < victim.published
    victim.start_worker()
    await victim.has_answered()
    await other.has_answered()


async def test_one_keeps_its_promise_while_the_others_database_is_stopped(regions: Regions) -> None:
    """In the middle of a load: no result and no dead letter there until it is back, and then one for each command."""
    east, west = regions.east, regions.west
    east.start_worker()
    waiting = west.start_worker()
    west.publish(HALF)
    east.publish(HALF)
    await west.bench.wait_for_results(100)
    await asyncio.to_thread(regions.database_of_west.stop)
    west.publish(HALF)
    east.publish(HALF)
    await east.has_answered()
    assert len(west.bench.results()) < west.published
    assert waiting.poll() is None
    await asyncio.to_thread(regions.database_of_west.start)
    await west.has_answered()
    assert west.bench.read([west.bench.dead_letters]) == []
    await east.has_answered()
