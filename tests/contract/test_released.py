"""Versions take turns on a database: released statements run on the newest schema, unless it says that they cannot.

The other way round, a newer version does not start on an older schema.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest
import pytest_asyncio

from tests.contract.future import bring, future
from tests.contract.world import OPEN, Lane, ask
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.released import Release, read, readers, releases, this_version
from tests.released.store import callable_statements, use_statements
from tests.released.usable import differences, furnish, undone
from worker.store import sql
from worker.store.postgres import PostgresStore
from worker.store.schema import Migration, check_schema, known_migrations
from worker.store.sql import Connection
from worker.tools.common.migrating import migrate
from worker.tools.common.migration_header import header_of
from worker.tools.common.rights import READER

NEXT = known_migrations()[-1].version + 1


@asynccontextmanager
async def _two_databases(servers: Infrastructure, release: Release) -> AsyncIterator[list[Connection]]:
    """Both as a worker of the release used them."""
    async with fresh_database(servers.database_url) as one, fresh_database(servers.database_url) as other:
        connections: list[Connection] = [await asyncpg.connect(url) for url in (one, other)]
        for connection in connections:
            await furnish(connection, release)
        yield connections
        for connection in connections:
            await connection.close()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """This version, as if it were released now: written and read."""
    folder = tmp_path_factory.mktemp("released") / "9.9.9"
    this_version().write(folder)
    return read(folder)


@pytest_asyncio.fixture(scope="module")
async def databases(servers: Infrastructure, release: Release) -> AsyncIterator[list[Connection]]:
    """Two databases that a worker of this version used. Tests leave them as they were."""
    async with _two_databases(servers, release) as connections:
        yield connections


async def _differences(databases: list[Connection], release: Release, *later: Migration) -> list[str]:
    """What a release does differently behind further migrations."""
    own, newest = databases
    async with undone(newest):
        for migration in later:
            await newest.execute(migration.text)
        return await differences(release, own, newest)


def test_a_release_is_read_as_it_was_written(release: Release) -> None:
    """Each statement, each argument."""
    written = this_version()
    assert release.statements == written.statements
    assert release.migrations == written.migrations
    assert release.runs.keys() == written.runs.keys()
    for name, runs in written.runs.items():
        assert [[*run.arguments] for run in release.runs[name]] == [_listed(run.arguments) for run in runs], name


def test_what_readers_may_query_is_taken_from_the_page() -> None:
    """Table by table."""
    queries = readers()
    assert len(queries) > 5
    assert queries["plan"] == "SELECT t.id, t.max_dpps, t.overage_price_cents, t.max_v1_writes_per_day FROM plan t\n"
    granted = {right.object for right in READER.rights if right.privilege == "SELECT" and right.columns is None}
    assert queries.keys() <= granted


def _listed(value: object) -> object:
    return [_listed(one) for one in value] if isinstance(value, tuple | list) else value


@pytest.mark.parametrize("released", releases(), ids=lambda released: released.version)
async def test_released_statements_run_on_the_newest_schema(servers: Infrastructure, released: Release) -> None:
    """With the same arguments and columns, and the same answers; unless a migration needs newer workers."""
    checksums = {migration.name: migration.checksum.hex() for migration in known_migrations()}
    assert checksums.items() >= released.migrations.items(), "released migrations never change"
    if all(header_of(migration).readable_from <= released.schema for migration in known_migrations()):
        async with _two_databases(servers, released) as databases:
            assert await _differences(databases, released, *known_migrations()[released.schema :]) == []


async def test_a_migration_that_adds_is_usable(databases: list[Connection], release: Release) -> None:
    """A column, a table, an index and a check that all rows pass."""
    adds = future(
        NEXT,
        "ALTER TABLE ledger ADD COLUMN noted text; CREATE TABLE note (id integer); "
        "CREATE INDEX ON passport (frame_id); ALTER TABLE lane ADD CHECK (epoch >= 0)",
    )
    assert await _differences(databases, release, adds) == []


@pytest.mark.parametrize(
    ("text", "statement", "problem"),
    [
        ("ALTER TABLE lane DROP COLUMN member_id", "worker.store register", "UndefinedColumnError"),
        ("ALTER TABLE ledger ADD COLUMN noted text NOT NULL DEFAULT ''; "
         "ALTER TABLE ledger ALTER noted DROP DEFAULT", "worker.store record", "NotNullViolationError"),
        ("ALTER TABLE daily_writes ALTER writes TYPE integer", "worker.store writes", "int4"),
        ("ALTER TABLE passport ADD CHECK (serial = upper(serial)) NOT VALID", "worker.store record", "CheckViolation"),
        ("DROP FUNCTION created_body(passport)", "worker.tools.lanes plan_refusals", "Undefined"),
        ("ALTER TABLE product RENAME TO article", "worker.store products", "UndefinedTableError"),
        ("ALTER TABLE redrive RENAME TO repeat", "worker.store grants", "UndefinedTableError"),
        ("ALTER TABLE company ALTER name TYPE varchar(500)", "readers company", "varchar"),
        ("UPDATE company SET name = 'Firm'", "worker.tools.common company_names", "Firm"),
    ],
)  # fmt: skip
async def test_a_migration_that_breaks_a_released_statement_is_seen(
    databases: list[Connection], release: Release, text: str, statement: str, problem: str
) -> None:
    """The statement is named, with what happens on either schema."""
    problems = await _differences(databases, release, future(NEXT, text))
    assert [one for one in problems if one.startswith(f"{statement}: ") and problem in one] != [], problems


async def test_the_newest_version_does_not_start_on_the_released_schema(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So its statements need not run there. A released version starts on the newest schema that is readable for it."""
    connection = await asyncpg.connect(database_url)
    await migrate(connection)
    with monkeypatch.context() as newer:
        bring(newer, future(NEXT, "CREATE TABLE note (id integer)", readable_from=NEXT - 1))
        assert str(await check_schema(connection)).startswith("The database is older than this version (next: ")
        await migrate(connection)
    assert await check_schema(connection) is None
    await connection.close()


async def test_the_store_can_use_the_statements_of_a_release(
    postgres: PostgresStore, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that have the same arguments and columns as today's. The fixture `store` does so for each release."""
    lane_lock, lanes = ("worker.store", "lock_lanes"), ("worker.store", "lanes")
    changed = {
        lane_lock: release.statements[lane_lock].replace("SELECT", "SELECT 1 AS one,", 1),
        lanes: f"-- released\n{release.statements[lanes]}",
    }
    async with postgres.session() as connection:
        used = await callable_statements(replace(release, statements={**release.statements, **changed}), connection)
    assert used == {"lanes": changed[lanes]}
    use_statements(used, monkeypatch)
    assert sql.load("lanes").startswith("-- released")
    assert await (await Lane.open(postgres)).verdicts(ask(OPEN)) == ["created"]
