"""A new version replaces the old one worker by worker, and goes back again, while commands come."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.chaos.load import Mix, Publisher, prepare
from tests.contract.future import future
from tests.contract.world import until_waiting
from tests.infrastructure.forked import ForkedProcess
from tests.invariants import check_invariants
from tests.released.trees import next_version
from tests.workbench import REPOSITORY, Workbench, get, run_command, tenant, until
from worker.store.schema import known_migrations
from worker.tools.demo.embedded import free_port

OURS = known_migrations()[-1].version
EXPAND = future(OURS + 1, "ALTER TABLE ledger ADD COLUMN noted text", readable_from=OURS)
INDEX = future(
    OURS + 2,
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS passport_frame_idx ON passport (frame_id)",
    readable_from=OURS,
    transaction=False,
)
CONTRACT = future(OURS + 3, "ALTER TABLE redrive RENAME TO repeated_command")


class _Place:
    """A pod's place in a deployment: one worker after the other."""

    def __init__(self, bench: Workbench, log: Path, tree: Path) -> None:
        self._bench, self._log = bench, log
        self._worker, self._port = self._start(tree)

    def _start(self, tree: Path) -> tuple["subprocess.Popen[bytes]", int]:
        port = free_port()
        return self._bench.start_worker(self._log, tree=str(tree), PASSPORT_HTTP_PORT=str(port)), port

    async def ready(self) -> None:
        """Until it has its partitions."""
        await until(lambda: get(f"http://127.0.0.1:{self._port}/readyz")[0] == 200, 30, "a worker that is ready")

    async def replace(self, tree: Path) -> None:
        """As Kubernetes does it: the old one stops before the new one starts (`maxSurge` 0)."""
        assert await asyncio.to_thread(self._bench.stop_worker, self._worker) == 0
        self._worker, self._port = self._start(tree)
        await self.ready()


def _begin_to_migrate(bench: Workbench, tree: Path) -> ForkedProcess[str]:
    return ForkedProcess("worker", ["migrate"], bench.environment, tree=tree, stdout=subprocess.PIPE, text=True)


def _migrate(bench: Workbench, tree: Path) -> str:
    """Run the `migrate` of a version to its end; what it printed."""
    with _begin_to_migrate(bench, tree) as process:
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return told


async def _flow(bench: Workbench, count: int = 50) -> None:
    """Until so many more commands are answered."""
    before = len(await asyncio.to_thread(bench.results))
    await bench.wait_for_results(before + count)


@pytest.mark.real_kafka
async def test_a_rolling_upgrade_and_a_rollback_under_load(bench: Workbench, tmp_path: Path) -> None:
    """Each command has one result, in order: with old workers, with both, with new ones, and back again.

    The migrations run beside the old workers, which go on. The old version starts on the new schema, until a migration
    says that it cannot.
    """
    new = next_version(tmp_path / "new", EXPAND, INDEX)
    await prepare(bench)
    places = [_Place(bench, tmp_path / f"{name}.log", REPOSITORY) for name in ("first", "second")]
    publisher = Publisher(bench, Mix(bench, 26), rate=150.0, seed=26)
    publisher.goal = 1_000_000
    with publisher:
        await _flow(bench)
        assert await asyncio.to_thread(_migrate, bench, new) == f"applied {EXPAND.name}\napplied {INDEX.name}\n"
        await _flow(bench)
        for tree in (new, REPOSITORY):
            for place in places:
                await place.replace(tree)
                await _flow(bench)
        await asyncio.to_thread(publisher.finish, 0)
    await bench.wait_for_results(publisher.sent)
    await check_invariants(bench)
    told = await asyncio.to_thread(run_command, "migrate", **bench.environment)
    assert told.stdout == f"the schema is newer ({INDEX.name}); this version can run on it\n"


@pytest.mark.real_kafka
async def test_a_version_that_cannot_run_on_the_schema_says_so(bench: Workbench, tmp_path: Path) -> None:
    """It ends at its start, before it takes any partition."""
    newest = next_version(tmp_path / "newest", EXPAND, INDEX, CONTRACT)
    await asyncio.to_thread(_migrate, bench, newest)
    told = await asyncio.to_thread(run_command, "run", **bench.environment)
    assert told.returncode == 1
    assert f"{CONTRACT.name} needs workers of schema {OURS + 3:04} or newer" in told.stderr
    worker = bench.start_worker(tmp_path / "newest.log", tree=str(newest))
    bench.publish([bench.command(tenant(0), 0, "u")])
    await bench.wait_for_results(1)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0


async def test_a_migrate_that_was_killed_is_finished_by_the_next(bench: Workbench, tmp_path: Path) -> None:
    """Postgres goes on with the index of a dead process. The next one waits for that, and records it."""
    new = next_version(tmp_path / "new", EXPAND, INDEX)
    writer, connection = await bench.connect(), await bench.connect()
    async with writer.transaction():
        await writer.execute("LOCK TABLE passport IN ROW EXCLUSIVE MODE")
        with _begin_to_migrate(bench, new) as killed:
            await until_waiting(connection)
            killed.kill()
        migrating = asyncio.create_task(asyncio.to_thread(_migrate, bench, new))
        await asyncio.sleep(2)
        assert not migrating.done()
    assert await migrating == f"applied {INDEX.name}\n"
    assert await connection.fetchval(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'passport_frame_idx'::regclass"
    )
    await writer.close()
    await connection.close()
