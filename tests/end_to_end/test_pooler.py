"""PgBouncer between worker and PostgreSQL: it may pool sessions, but not transactions, and no setting gets lost."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.infrastructure.choose import Infrastructure, server_directory
from tests.infrastructure.databases import fresh_database
from tests.infrastructure.pooler import ROLES, PgBouncer
from tests.infrastructure.postgres import end_sessions, programs_of_wheel
from tests.invariants import check_invariants
from tests.operations.asking import ask
from tests.workbench import REPOSITORY, Workbench, make_workbench, run_command, tenant
from worker.store.postgres import SESSION_SETTINGS
from worker.tools.demo.embedded import EmbeddedPostgres

pytestmark = pytest.mark.real_kafka

SCRIPT = REPOSITORY / "deploy" / "scripts" / "pooled-role.sql"
ROLE = ROLES[1]
IGNORED = ",".join(sorted(SESSION_SETTINGS.keys() - {"application_name"}))


@pytest.fixture
async def bench(servers: Infrastructure, own_postgres: EmbeddedPostgres, kafka_prefix: str) -> AsyncIterator[Workbench]:
    """With a role that has the rights of workers, and none of their settings yet."""
    owner = await asyncpg.connect(own_postgres.url)
    await owner.execute(f"CREATE ROLE {ROLE} LOGIN")
    async with fresh_database(own_postgres.url) as url:
        bench = await make_workbench(servers.bootstrap_servers, url, kafka_prefix)
        granted = await asyncio.to_thread(run_command, "migrate", "--grant-to", ROLE, **bench.environment)
        assert granted.returncode == 0, granted.stderr
        yield bench
        await asyncio.to_thread(bench.kill_workers)
    await owner.execute(f"DROP ROLE {ROLE}")
    await owner.close()


@contextmanager
def pooled(bench: Workbench, mode: str, ignored: str = IGNORED) -> Iterator[tuple[PgBouncer, str]]:
    """A pooler, and the URL of the database for the workers' role through it."""
    with server_directory() as folder:
        folder.chmod(0o777)
        with PgBouncer(folder, bench.settings.database_url, mode, ignored) as pooler:
            yield pooler, pooler.url_of(bench.settings.database_url).replace("postgres@", f"{ROLE}@")


def run_script(bench: Workbench) -> None:
    """As an administrator does."""
    command = [programs_of_wheel() / "psql", bench.settings.database_url, "-v", f"role={ROLE}", "-f", SCRIPT]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=30)


def test_the_script_has_what_sessions_ask_for() -> None:
    """The same names and values; PgBouncer passes on the name of the application."""
    given = dict(re.findall(r"SET (\w+) = '(\w+)'", SCRIPT.read_text(encoding="utf-8")))
    assert given == {name: value for name, value in SESSION_SETTINGS.items() if name != "application_name"}


async def test_sessions_may_be_pooled(bench: Workbench, tmp_path: Path) -> None:
    """Also when the pooler dies, and when PostgreSQL ends its sessions, in the middle of a load."""
    await asyncio.to_thread(run_script, bench)
    with pooled(bench, "session") as (pooler, url):
        told = await ask(bench, "doctor", PASSPORT_DATABASE_URL=url)
        assert {one["id"]: one["status"] for one in told.report["checks"]}["postgres.session"] == "ok"
        bench.start_worker(tmp_path / "worker.log", PASSPORT_DATABASE_URL=url)
        for number in range(4):
            bench.publish(bench.command(tenant(n % 3), n % 3, f"{number}-{n}", partition=n % 2) for n in range(500))
            await bench.wait_for_results(500 * number + 100)
            if number % 2:
                await asyncio.to_thread(pooler.kill)
                await asyncio.to_thread(pooler.start)
            else:
                await end_sessions(bench.settings.database_url)
        await bench.wait_for_results(2000)
        await check_invariants(bench)


@pytest.mark.parametrize(
    ("mode", "ignored", "has_settings", "finding"),
    [
        ("session", "", True, "unsupported startup parameter: "),
        ("session", IGNORED, False, "the session lost settings: statement_timeout is 0, expected 20s, "),
        ("transaction", IGNORED, True, "a pooler gives each transaction a session of its choice"),
    ],
    ids=["refused", "lost settings", "transactions"],
)
async def test_a_worker_does_not_start_behind_a_pooler_that_breaks_its_guards(
    bench: Workbench, tmp_path: Path, mode: str, ignored: str, has_settings: bool, finding: str
) -> None:
    """It ends with 1 and says what to do, and so does `doctor`."""
    if has_settings:
        await asyncio.to_thread(run_script, bench)
    bench.publish([bench.command(tenant(1), 1, "unit")])
    with pooled(bench, mode, ignored) as (_, url):
        told = await ask(bench, "doctor", PASSPORT_DATABASE_URL=url)
        (failed,) = [one for one in told.report["checks"] if one["status"] == "failed" and "lanes" not in one["id"]]
        assert finding in failed["finding"]
        assert "deploy/move.md" in failed["advice"]
        log = tmp_path / "worker.log"
        worker = bench.start_worker(log, PASSPORT_DATABASE_URL=url)
        assert await asyncio.to_thread(worker.wait, 30) == 1
        bench.workers.remove(worker)
        assert finding in log.read_text()
    assert bench.results() == []


async def test_migrate_does_not_begin_behind_a_pooler_of_transactions(bench: Workbench) -> None:
    """Seen to fail: the first run went through, and the second one ended with the driver's advice for programmers."""
    with pooled(bench, "transaction") as (pooler, _):
        url = pooler.url_of(bench.settings.database_url)
        for _ in range(2):
            told = await asyncio.to_thread(run_command, "migrate", PASSPORT_DATABASE_URL=url)
            assert (told.returncode, told.stdout) == (1, "")
            assert told.stderr.startswith("passport-worker: a pooler gives each transaction a session of its choice, ")
            assert told.stderr.endswith(
                ". Let `migrate` connect to PostgreSQL directly, "
                "or to a pool of sessions: see PgBouncer in deploy/move.md.\n"
            )
            plan = await asyncio.to_thread(run_command, "migrate", "--plan", "--json", PASSPORT_DATABASE_URL=url)
            report = json.loads(plan.stdout)
            assert plan.stderr == ""
        assert [one["text"] for one in report["problems"]] == [told.stderr.removeprefix("passport-worker: ").strip()]
    with pooled(bench, "session") as (pooler, _):
        url = pooler.url_of(bench.settings.database_url)
        told = await asyncio.to_thread(run_command, "migrate", PASSPORT_DATABASE_URL=url)
        assert (told.returncode, told.stdout) == (0, "the schema is up to date\n")
