"""Both stores over the catalogue of `tests.contract.world`, each fresh for a test."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from tests.contract.world import CATALOGUE, furnish, wipe
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.memory_store import MemoryStore
from tests.released import releases, this_version
from tests.released.store import callable_statements, use_statements
from worker.store.database import Database
from worker.store.port import Store
from worker.store.postgres import PostgresStore
from worker.store.sql import Connection
from worker.tools.common.catalogue.facts import facts_of
from worker.tools.common.migrating import migrate


@pytest_asyncio.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    """A connection to a migrated database."""
    connection = await asyncpg.connect(database_url)
    await migrate(connection)
    yield connection
    await connection.close()


@pytest_asyncio.fixture(scope="module")
async def furnished_url(servers: Infrastructure) -> AsyncIterator[str]:
    """A migrated database with the catalogue, shared by the tests of a file."""
    async with fresh_database(servers.database_url) as url:
        await furnish(url)
        yield url


@pytest_asyncio.fixture
async def postgres(furnished_url: str) -> AsyncIterator[PostgresStore]:
    """The store in PostgreSQL."""
    await wipe(furnished_url)
    store = PostgresStore(Database(furnished_url), 8)
    yield store
    await store.close()


RELEASES = {release.version: release for release in releases() if release.statements != this_version().statements}


@pytest_asyncio.fixture(scope="module")
async def released_statements(furnished_url: str) -> dict[str, dict[str, str]]:
    """The statements of each release that differ from today's, as far as today's store can call them."""
    connection = await asyncpg.connect(furnished_url)
    try:
        return {version: await callable_statements(release, connection) for version, release in RELEASES.items()}
    finally:
        await connection.close()


@pytest.fixture(params=["memory", "postgres", *RELEASES])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Either store: what a test claims about it, it claims about both. Postgres also with released statements."""
    if request.param == "memory":
        return MemoryStore(facts_of(CATALOGUE))
    if request.param in RELEASES:
        use_statements(request.getfixturevalue("released_statements")[request.param], monkeypatch)
    store: PostgresStore = request.getfixturevalue("postgres")
    return store
