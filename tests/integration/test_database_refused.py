"""A database that will never have us ends the command with advice; one that is away is waited for by `run`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.infrastructure.postgres import replace_rules
from tests.workbench import REPOSITORY, Workbench, run_command, until
from worker.tools.demo.embedded import HOST, EmbeddedPostgres, free_port

_LOAD = ("catalogue", "load", str(REPOSITORY / "deploy" / "catalogue.example.yaml"))


@pytest.fixture
async def strict(own_postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """`host:port` of a server where role `w` needs its password, and may not use the database `closed`."""
    connection = await asyncpg.connect(own_postgres.url)
    rules = Path(await connection.fetchval("SHOW hba_file"))
    before = replace_rules(rules, "host all w,nobody all scram-sha-256\n")
    for statement in (
        "SELECT pg_reload_conf()",
        "CREATE ROLE w LOGIN PASSWORD 'hunter2'",
        "CREATE DATABASE closed",
        "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
    ):
        await connection.execute(statement)
    yield f"{HOST}:{own_postgres.port}"
    replace_rules(rules, before, "")
    for statement in ("SELECT pg_reload_conf()", "DROP DATABASE closed", "DROP ROLE w"):
        await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize(
    ("command", "user", "database", "said", "advice"),
    [
        (("run",), "w:hunter2", "nosuch", 'database "nosuch" does not exist', "CREATE DATABASE"),
        (("run",), "w:hunter3", "postgres", 'password authentication failed for user "w"', "Correct user and password"),
        (("run",), "nobody:hunter2", "postgres", 'password authentication failed for user "nobody"', "CREATE ROLE"),
        (("run",), "nosuch:hunter2", "postgres", 'role "nosuch" does not exist', "CREATE ROLE"),
        (("run",), "w:hunter2", "closed", 'permission denied for database "closed"', "GRANT CONNECT"),
        (("migrate",), "w:hunter2", "nosuch", 'database "nosuch" does not exist', "CREATE DATABASE"),
        (_LOAD, "w:hunter3", "postgres", 'password authentication failed for user "w"', "Correct user and password"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
async def test_what_is_missing_is_named_with_advice(
    bench: Workbench, strict: str, command: tuple[str, ...], user: str, database: str, said: str, advice: str
) -> None:
    """Exit 1 within the minute that `run_command` waits. Seen to fail without `why_refused`: `run` waited for ever."""
    url = f"postgresql://{user}@{strict}/{database}"
    environment = {**bench.environment, "PASSPORT_DATABASE_URL": url}
    done = await asyncio.to_thread(run_command, *command, **environment)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"passport-worker: The database refuses us: {said}. ")
    assert advice in last
    assert "hunter" not in done.stderr


@pytest.mark.parametrize("host", [f"{HOST}:{free_port()}", "nosuch.invalid:5432"], ids=["no server", "no name"])
async def test_a_database_that_is_away_is_waited_for(bench: Workbench, tmp_path: Path, host: str) -> None:
    """By `run`; the others name it, and show no password."""
    url = f"postgresql://w:hunter2@{host}/x"
    log = tmp_path / "worker.log"
    worker = bench.start_worker(log, PASSPORT_DATABASE_URL=url)
    done = await asyncio.to_thread(run_command, "migrate", PASSPORT_DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"passport-worker: Postgres cannot be reached at {host}/x: ")
    await until(lambda: log.read_text().count("waiting_for_servers") > 2, 30, "it waits")
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    assert "hunter" not in done.stderr + log.read_text()
