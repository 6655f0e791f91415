"""Migrations bring a database to this version once, whoever starts them, and tell which one they cannot bring there."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from tests.contract.future import bring, future
from tests.infrastructure.forked import ForkedProcess
from tests.workbench import run_command
from worker.store.schema import check_schema, known_migrations
from worker.store.sql import Connection
from worker.tools.common import migrating
from worker.tools.common.journal import Author
from worker.tools.common.migrating import MigrationError, alone, migrate

NAMES = [migration.name for migration in known_migrations()]
NEWEST = known_migrations()[-1].version
NEXT = future(9998, "CREATE TABLE next_one (id integer); CREATE TABLE next_two (id integer);")
BROKEN = future(9999, "CREATE TABLE broken (id integer); SELECT 1 / 0;")


@pytest_asyncio.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    """A connection to an empty database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def _tables(connection: Connection) -> set[str]:
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    return {row["relname"] for row in rows}


def test_versions_count_from_one_without_gaps() -> None:
    """Two branches that both add a migration meet here, not in production."""
    assert [migration.version for migration in known_migrations()] == list(range(1, len(NAMES) + 1))


async def test_an_empty_database_is_brought_to_this_version(connection: Connection) -> None:
    """All migrations are applied and named, and the partitions of these days are there."""
    assert await migrate(connection) == NAMES
    assert await check_schema(connection) is None
    today = await connection.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")
    assert {"plan", "ledger", f"ledger_{today}", f"dead_letter_{today}"} <= await _tables(connection)


async def test_migrating_again_does_nothing(connection: Connection) -> None:
    """The second run applies nothing and leaves the record as it was."""
    await migrate(connection)
    record = await connection.fetch("SELECT * FROM schema_migration")
    assert await migrate(connection) == []
    assert await connection.fetch("SELECT * FROM schema_migration") == record


async def test_each_migration_is_kept_with_who_and_why(connection: Connection) -> None:
    """In its own transaction, from the first one on; a run that applies nothing keeps nothing."""
    author = Author("Anna", "the first start")
    await migrate(connection, author)
    assert await migrate(connection, author) == []
    rows = await connection.fetch("SELECT verb, who, reason, outcome, arguments FROM operation ORDER BY ended_at")
    assert [tuple(row)[:4] for row in rows] == [("migrate", "Anna", "the first start", "done")] * len(NAMES)
    assert [json.loads(row["arguments"]) for row in rows] == [{"migration": name} for name in NAMES]


async def test_many_may_start_at_once(database_url: str) -> None:
    """Of eight that migrate at the same moment each succeeds, and each migration is applied by one of them."""
    connections = await asyncio.gather(*(asyncpg.connect(database_url) for _ in range(8)))
    applied = await asyncio.gather(*(migrate(connection) for connection in connections))
    assert sorted(name for names in applied for name in names) == NAMES
    assert [await check_schema(connection) for connection in connections] == [None] * 8
    await asyncio.gather(*(connection.close() for connection in connections))


async def test_who_waits_for_another_process_says_so(database_url: str, connection: Connection) -> None:
    """Once, after a second: an index that a killed process began may take an hour."""
    waits: list[str] = []
    other = await asyncpg.connect(database_url)
    async with alone(other):
        task = asyncio.create_task(migrate(connection, say=waits.append))
        async with asyncio.timeout(20):
            while not waits:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        assert not task.done()
    assert await asyncio.wait_for(task, 20) == NAMES
    assert [wait.partition(",")[0] for wait in waits] == ["another `migrate` is at work"]
    await other.close()


async def test_an_older_database_gets_only_what_it_lacks(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new migration is asked for by name, and then applied alone."""
    await migrate(connection)
    bring(monkeypatch, NEXT)
    assert str(await check_schema(connection)) == (
        "The database is older than this version (next: 9998_future.sql): run `passport-worker migrate`."
    )
    assert await migrate(connection) == ["9998_future.sql"]
    assert await check_schema(connection) is None


async def test_a_migration_that_fails_leaves_nothing(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before it stay, its own statements are rolled back, and it is tried again next time."""
    bring(monkeypatch, NEXT, BROKEN)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection)
    tables = await _tables(connection)
    assert {"next_one", "next_two"} <= tables
    assert "broken" not in tables
    assert str(await check_schema(connection)) == (
        "The database is older than this version (next: 9999_future.sql): run `passport-worker migrate`."
    )


async def test_each_migration_is_named_once_it_is_committed(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So whoever started it knows how far it came where a later one fails."""
    bring(monkeypatch, NEXT, BROKEN)
    named: list[str] = []
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, name_applied=named.append)
    assert named == [*NAMES, NEXT.name]


def test_the_command_names_what_it_applied_before_it_failed(database_url: str) -> None:
    """Here a role is missing behind the last migration."""
    told = run_command("migrate", "--grant-to", "nobody", PASSPORT_DATABASE_URL=database_url)
    assert (told.returncode, told.stdout) == (1, "".join(f"applied {name}\n" for name in NAMES))
    assert 'The role "nobody" does not exist' in told.stderr


async def test_a_reader_that_goes_does_not_end_the_command_between_two_migrations(
    database_url: str, connection: Connection
) -> None:
    """As `grep --quiet` behind a pipe. The command tells that by its exit code."""
    environment = {**os.environ, "PASSPORT_DATABASE_URL": database_url}
    with ForkedProcess("worker", ["migrate"], environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert await asyncio.to_thread(process.wait, 30) == 1
    assert await check_schema(connection) is None


async def test_an_empty_database_is_told_as_empty(connection: Connection) -> None:
    """Looking at an empty database says what to do and changes nothing."""
    assert str(await check_schema(connection)) == "The database is empty: run `passport-worker migrate`."
    assert await _tables(connection) == set()


async def test_a_newer_database_that_is_readable_from_this_version_is_run_on(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old worker starts on it and its `migrate` does nothing, so that a rollback needs no other database."""
    await migrate(connection)
    with monkeypatch.context() as newer:
        bring(newer, future(NEWEST + 1, "CREATE TABLE next_one (id integer)", readable_from=NEWEST))
        assert await migrate(connection) == [f"{NEWEST + 1:04}_future.sql"]
    assert await check_schema(connection) is None
    assert await migrate(connection) == []


async def test_a_newer_database_is_left_alone(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old worker refuses one that needs newer workers, with the version that may run on it."""
    await migrate(connection)
    with monkeypatch.context() as newer:
        bring(newer, future(NEWEST + 1, "CREATE TABLE next_one (id integer)"), future(NEWEST + 2, "SELECT 1"))
        newer.setattr(migrating, "__version__", "7.8.9")
        await migrate(connection)
    problem = (
        f"The database is newer than this version: {NEWEST + 1:04}_future.sql needs workers of schema {NEWEST + 1:04} "
        f"or newer, and this one is of schema {NEWEST:04}: deploy version 7.8.9, which applied it, or a newer one."
    )
    assert str(await check_schema(connection)) == problem
    with pytest.raises(MigrationError) as caught:
        await migrate(connection)
    assert str(caught.value) == problem


async def test_a_database_of_another_branch_is_left_alone(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a migration that this version does not know, and lacks a later one that this version brings."""
    await migrate(connection)
    await connection.execute("INSERT INTO schema_migration VALUES (4711, '4711_later.sql', '', 1, '0.9.0')")
    bring(monkeypatch, NEXT)
    with pytest.raises(MigrationError, match=r"The database is newer than this version: 4711_later\.sql"):
        await migrate(connection)
    assert "next_one" not in await _tables(connection)


async def test_a_changed_migration_is_refused(connection: Connection) -> None:
    """A migration whose text is not the one that was applied is named, with what to do."""
    await migrate(connection)
    await connection.execute("UPDATE schema_migration SET sha256 = sha256('other') WHERE version = 1")
    problem = (
        f"The migration {NAMES[0]} has changed since it was applied: "
        "restore the file as it was released, and put the change into a new migration."
    )
    assert str(await check_schema(connection)) == problem
    with pytest.raises(MigrationError) as caught:
        await migrate(connection)
    assert str(caught.value) == problem


async def test_the_default_isolation_does_not_matter(database_url: str) -> None:
    """Those who waited for the lock see what was done meanwhile, also where snapshots last for a transaction."""
    settings = {"default_transaction_isolation": "serializable"}
    connections = await asyncio.gather(*(asyncpg.connect(database_url, server_settings=settings) for _ in range(4)))
    applied = await asyncio.gather(*(migrate(connection) for connection in connections))
    assert sorted(name for names in applied for name in names) == NAMES
    await asyncio.gather(*(connection.close() for connection in connections))
