"""Versions take turns on a database: released statements run on the newest schema, unless it says that they cannot.

The other way round, a newer version does not start on an older schema.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from tests.contract.future import bring, future
from tests.contract.world import OPEN, Lane, ask
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.released import Release, read, readers, releases, this_version
from tests.released.store import callable_statements, use_statements
from tests.released.usable import Answers, answers_of, differences, furnish
from worker.store import sql
from worker.store.postgres import PostgresStore
from worker.store.schema import check_schema, known_migrations
from worker.store.sql import Connection
from worker.tools.common.migrating import migrate
from worker.tools.common.migration_header import header_of
from worker.tools.common.rights import READER

NEXT = known_migrations()[-1].version + 1


@asynccontextmanager
async def _used_database(servers: Infrastructure, release: Release) -> AsyncIterator[Connection]:
    """A database as a worker of the release used it."""
    async with fresh_database(servers.database_url) as url:
        connection = await asyncpg.connect(url)
        await furnish(connection, release)
        yield connection
        await connection.close()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """This version, as if it were released now: written and read."""
    folder = tmp_path_factory.mktemp("released") / "9.9.9"
    this_version().write(folder)
    return read(folder)


@pytest_asyncio.fixture(scope="module")
async def connection(servers: Infrastructure, release: Release) -> AsyncIterator[Connection]:
    """A database that a worker of this version used. Tests leave it as it was."""
    async with _used_database(servers, release) as connection:
        yield connection


@pytest_asyncio.fixture(scope="module")
async def before(connection: Connection, release: Release) -> Answers:
    """What the statements of this version do on its own schema."""
    return await answers_of(release, connection)


def test_a_release_is_read_as_it_was_written(release: Release) -> None:
    """Each statement, each argument."""
    written = this_version()
    assert release.statements == written.statements
    assert release.migrations == written.migrations
    assert release.runs.keys() == written.runs.keys()
    for name, runs in written.runs.items():
        assert [[*run.arguments] for run in release.runs[name]] == [_listed(run.arguments) for run in runs], name


def test_a_release_is_written_once(tmp_path: Path) -> None:
    """Without a new version, the statements of the last one would be replaced by today's, and no test compare them."""
    folder = tmp_path / "9.9.9"
    this_version().write(folder)
    kept = (folder / "schema.json").read_bytes()
    with pytest.raises(FileExistsError):
        replace(this_version(), migrations={}).write(folder)
    assert (folder / "schema.json").read_bytes() == kept


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
        async with _used_database(servers, released) as connection:
            own = await answers_of(released, connection)
            newest = await answers_of(released, connection, known_migrations()[released.schema :])
        assert differences(own, newest) == []


async def test_a_migration_that_adds_is_usable(connection: Connection, release: Release, before: Answers) -> None:
    """A column, a table, an index and a check that all rows pass."""
    adds = future(
        NEXT,
        "ALTER TABLE ledger ADD COLUMN noted text; CREATE TABLE note (id integer); "
        "ALTER TABLE lane ADD CHECK (epoch >= 0)",
    )
    index = future(NEXT + 1, "CREATE INDEX CONCURRENTLY IF NOT EXISTS x ON passport (frame_id)", transaction=False)
    assert differences(before, await answers_of(release, connection, [adds, index])) == []


@pytest.mark.parametrize(
    ("text", "statement", "problem"),
    [
        ("ALTER TABLE lane DROP COLUMN member_id", "worker.store register", "UndefinedColumnError"),
        ("ALTER TABLE ledger ADD COLUMN noted text NOT NULL DEFAULT ''; "
         "ALTER TABLE ledger ALTER noted DROP DEFAULT", "worker.store record", "NotNullViolationError"),
        ("ALTER TABLE daily_writes ALTER writes TYPE integer", "worker.store gather", "int4"),
        ("ALTER TABLE passport ADD CHECK (serial = upper(serial)) NOT VALID", "worker.store record", "CheckViolation"),
        ("DROP FUNCTION created_body(passport)", "worker.tools.lanes plan_refusals", "Undefined"),
        ("ALTER TABLE product RENAME TO article", "worker.store products", "UndefinedTableError"),
        ("ALTER TABLE redrive RENAME TO repeat", "worker.store grants", "UndefinedTableError"),
        ("ALTER TABLE company ALTER name TYPE varchar(500)", "readers company", "varchar"),
        ("UPDATE company SET name = 'Firm'", "worker.tools.common company_names", "Firm"),
    ],
)  # fmt: skip
async def test_a_migration_that_breaks_a_released_statement_is_seen(
    connection: Connection, release: Release, before: Answers, text: str, statement: str, problem: str
) -> None:
    """The statement is named, with what happens on either schema."""
    problems = differences(before, await answers_of(release, connection, [future(NEXT, text)]))
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
    positions, lanes = ("worker.store", "positions"), ("worker.store", "lanes")
    changed = {
        positions: release.statements[positions].replace("SELECT", "SELECT 1 AS one,", 1),
        lanes: f"-- released\n{release.statements[lanes]}",
    }
    async with postgres.session() as connection:
        used = await callable_statements(replace(release, statements={**release.statements, **changed}), connection)
    assert used == {"lanes": changed[lanes]}
    use_statements(used, monkeypatch)
    assert sql.load("lanes").startswith("-- released")
    assert await (await Lane.open(postgres)).verdicts(ask(OPEN)) == ["created"]
