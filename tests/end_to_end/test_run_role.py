"""The worker under a role that may not make, drop or change a table: every outcome, and its housekeeping."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.roles import Roles, two_roles
from tests.integration.guards_helpers import changed
from tests.invariants import check_invariants
from tests.outcomes import answer_all, check_outcomes
from tests.workbench import Workbench, make_past_day, make_workbench, run_command, tenant
from worker import app, housekeeping


@pytest.fixture
async def roles(servers: Infrastructure) -> AsyncIterator[Roles]:
    """An empty database with an owner and a run role."""
    async with two_roles(servers.database_url) as roles:
        yield roles


@pytest.fixture
async def bench(servers: Infrastructure, roles: Roles, kafka_prefix: str) -> AsyncIterator[Workbench]:
    """Migrated and furnished by the owner."""
    bench = await make_workbench(servers.bootstrap_servers, roles.owner_url, kafka_prefix)
    yield bench
    await asyncio.to_thread(bench.kill_workers)


async def test_every_outcome_under_the_run_role(bench: Workbench, roles: Roles, tmp_path: Path) -> None:
    """What `migrate --grant-to` gives is enough for all that a worker does; without it `run` says so and exits."""
    as_run_role = {"PASSPORT_DATABASE_URL": roles.run_url}
    refused = run_command("run", **{**bench.environment, **as_run_role})
    assert refused.returncode == 1
    assert f"run `passport-worker migrate --grant-to {roles.run}` as the owner" in refused.stderr
    granted = run_command("migrate", "--grant-to", roles.run, **bench.environment)
    assert granted.stdout == f"the schema is up to date\n{roles.run} may do what `run` does\n", granted
    worker = bench.start_worker(tmp_path / "worker.log", **as_run_role)
    check_outcomes(bench, await answer_all(bench))
    assert len(bench.read([bench.dead_letters])) == 2
    assert bench.stop_worker(worker) == 0
    await check_invariants(bench)


async def test_housekeeping_under_the_run_role(bench: Workbench, roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The days ahead are made at the start, and a day past the retention is dropped by the worker's own timer."""
    assert run_command("migrate", "--grant-to", roles.run, **bench.environment).returncode == 0
    monkeypatch.setattr(housekeeping, "HOUSEKEEPING_SECONDS", 0.1)
    owner = await asyncpg.connect(roles.owner_url)
    today = await owner.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    old, coming = today - timedelta(days=30), today + timedelta(days=2)
    await make_past_day(owner, "ledger", old)
    await owner.execute(f"DROP TABLE ledger_{coming:%Y%m%d}")
    worker = app.make_worker(changed(bench.settings, database_url=roles.run_url))
    life = asyncio.create_task(worker.run())
    for day, there in ((coming, True), (old, False)):
        await _until_table(owner, f"ledger_{day:%Y%m%d}", there)
    worker.stop()
    await life
    await owner.close()


async def test_missing_days_are_made_under_the_run_role(bench: Workbench, roles: Roles, tmp_path: Path) -> None:
    """A batch that meets today without its tables has them made, by the functions that the role may call."""
    assert run_command("migrate", "--grant-to", roles.run, **bench.environment).returncode == 0
    bench.start_worker(tmp_path / "worker.log", PASSPORT_DATABASE_URL=roles.run_url)
    bench.publish([bench.command(tenant(0), 0, "before")])
    await bench.wait_for_results(1)
    owner = await asyncpg.connect(roles.owner_url)
    today = await owner.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    await owner.execute(f"DELETE FROM ledger; DROP TABLE ledger_{today:%Y%m%d}, idempotency_key_{today:%Y%m%d}")
    await owner.close()
    bench.publish([bench.command(tenant(0), 0, "after", key="after")])
    await bench.wait_for_results(2, 20)


async def _until_table(connection: "asyncpg.Connection[asyncpg.Record]", name: str, there: bool) -> None:
    """Wait until a table has come or gone."""
    for _ in range(300):
        if (await connection.fetchval("SELECT to_regclass($1)", name) is not None) == there:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{name} is {'not there' if there else 'still there'}")


async def test_a_role_without_rights_is_refused_by_the_command_line(bench: Workbench, roles: Roles) -> None:
    """Granting to nobody, or not as the owner, exits with 1 and says why."""
    nobody = run_command("migrate", "--grant-to", "nobody_there", **bench.environment)
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert 'The role "nobody_there" does not exist' in nobody.stderr
