"""The database's password is exchanged while commands come: no restart, and nothing lost or doubled."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.infrastructure.postgres import end_sessions, replace_rules
from tests.invariants import check_invariants
from tests.workbench import Workbench, get, make_workbench, run_command, tenant, until
from worker.tools.demo.embedded import HOST, EmbeddedPostgres, free_port

ROLE = "rotated"


class Vault:
    """Gives the role one password after the other; the newest is in `file`."""

    def __init__(self, file: Path, owner: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.file, self._owner = file, owner
        self.passwords: list[str] = []

    async def rotate(self, valid_seconds: float | None = None, *, late: bool = False) -> None:
        """Set a new password, which may expire; write it, unless the file comes `late`."""
        self.passwords.append(uuid4().hex)
        until_then = "infinity"
        if valid_seconds is not None:
            until_then = str(await self._owner.fetchval("SELECT now() + $1 * interval '1 s'", valid_seconds))
        await self._owner.execute(f"ALTER ROLE {ROLE} PASSWORD '{self.passwords[-1]}' VALID UNTIL '{until_then}'")
        if not late:
            self.write()

    def write(self) -> None:
        """Exchange the file in one step, as Kubernetes does."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{self.passwords[-1]}\n")
        new.rename(self.file)


@pytest.fixture
async def bench(servers: Infrastructure, own_postgres: EmbeddedPostgres, kafka_prefix: str) -> AsyncIterator[Workbench]:
    """In a database whose server wants the role's password."""
    owner = await asyncpg.connect(own_postgres.url)
    rules = Path(await owner.fetchval("SHOW hba_file"))
    before = replace_rules(rules, f"host all {ROLE} all scram-sha-256\n")
    await owner.execute("SELECT pg_reload_conf()")
    await owner.execute(f"CREATE ROLE {ROLE} LOGIN")
    async with fresh_database(own_postgres.url) as url:
        bench = await make_workbench(servers.bootstrap_servers, url, kafka_prefix)
        granted = await asyncio.to_thread(run_command, "migrate", "--grant-to", ROLE, **bench.environment)
        assert granted.returncode == 0, granted.stderr
        yield bench
        await asyncio.to_thread(bench.kill_workers)
    await owner.execute(f"DROP ROLE {ROLE}")
    replace_rules(rules, before, "")
    await owner.execute("SELECT pg_reload_conf()")
    await owner.close()


@pytest.fixture
async def vault(bench: Workbench, own_postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Vault]:
    """With a first password."""
    owner = await asyncpg.connect(own_postgres.url)
    vault = Vault(tmp_path / "password", owner)
    await vault.rotate()
    yield vault
    await owner.close()


def _environment(bench: Workbench, own_postgres: EmbeddedPostgres, vault: Vault) -> dict[str, str]:
    name = urlsplit(bench.settings.database_url).path
    return {
        "PASSPORT_DATABASE_URL": f"postgresql://{ROLE}@{HOST}:{own_postgres.port}{name}",
        "PASSPORT_DATABASE_PASSWORD_FILE": str(vault.file),
    }


def _commands(bench: Workbench, count: int, name: str) -> list[dict[str, object]]:
    return [bench.command(tenant(n % 10), n % 10, f"{name}-{n}", partition=n % 2) for n in range(count)]


async def test_passwords_that_expire_every_moment(
    bench: Workbench, own_postgres: EmbeddedPostgres, vault: Vault, tmp_path: Path
) -> None:
    """Open sessions go on with a password that has expired; sessions that the server ends come back with the new one.

    Seen to fail with a password that was read at the start: after the first round there were no more results.
    """
    log = tmp_path / "worker.log"
    worker = bench.start_worker(log, **_environment(bench, own_postgres, vault))
    for number in range(5):
        await asyncio.to_thread(bench.publish, _commands(bench, 100, f"open-{number}"))
        await bench.wait_for_results(200 * number + 100)  # now sessions are open, however slow the machine is
        await vault.rotate(1.0)
        await asyncio.sleep(1.2)  # expired: pooled sessions must not mind
        await asyncio.to_thread(bench.publish, _commands(bench, 100, f"expired-{number}"))
        await bench.wait_for_results(200 * number + 150)
        await vault.rotate(60.0)
        await end_sessions(bench.settings.database_url)
    await bench.wait_for_results(1000)
    assert bench.stop_worker(worker) == 0
    assert not [password for password in vault.passwords if password in log.read_text()]
    await check_invariants(bench)


async def test_a_file_that_comes_late_is_waited_for(
    bench: Workbench, own_postgres: EmbeddedPostgres, vault: Vault, tmp_path: Path
) -> None:
    """As where the server knows the new password a minute before the kubelet: the worker stays up and says why."""
    port = free_port()
    environment = _environment(bench, own_postgres, vault) | {"PASSPORT_HTTP_PORT": str(port)}
    worker = bench.start_worker(tmp_path / "worker.log", **environment)
    bench.publish(_commands(bench, 50, "before"))
    await bench.wait_for_results(50)
    for is_missing in (False, True):
        await vault.rotate(late=True)
        if is_missing:
            vault.file.unlink()
        await end_sessions(bench.settings.database_url)
        bench.publish(_commands(bench, 50, f"meanwhile-{is_missing}"))
        said = "PASSPORT_DATABASE_PASSWORD_FILE: expected a file" if is_missing else "password authentication failed"
        await until(lambda said=said: said in get(f"http://{HOST}:{port}/readyz")[1], 20, said)  # type: ignore[misc]
        vault.write()
        await bench.wait_for_results(150 if is_missing else 100, 30)
    assert bench.stop_worker(worker) == 0
    await check_invariants(bench)
