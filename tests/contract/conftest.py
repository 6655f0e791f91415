"""Both stores over the catalogue of `tests.contract.world`, each fresh for a test."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.world import CATALOGUE, facts_of, furnish
from worker.store.memory import MemoryStore
from worker.store.port import Store
from worker.store.postgres import PostgresStore


@pytest_asyncio.fixture
async def postgres(database_url: str) -> AsyncIterator[PostgresStore]:
    """The store in PostgreSQL."""
    await furnish(database_url)
    store = PostgresStore(database_url, 8)
    yield store
    await store.close()


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    """Either store: what a test claims about it, it claims about both."""
    if request.param == "memory":
        return MemoryStore(facts_of(CATALOGUE))
    store: PostgresStore = request.getfixturevalue("postgres")
    return store
