"""The queries of the store, one named file each, and the type of the connections that they run on."""

from contextlib import AbstractAsyncContextManager
from functools import cache
from importlib.resources import files
from typing import Protocol, TypeAlias

import asyncpg

# A string, since the classes take parameters only in their stubs, not at run time.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


class Sessions(Protocol):
    """Connections to the database, as `PostgresStore` has them."""

    def session(self) -> AbstractAsyncContextManager[Connection]:
        """A connection, which a failure throws away. Raises `StoreUnavailable`."""


@cache
def load(name: str) -> str:
    """The text of `worker/store/sql/<name>.sql`."""
    return (files("worker.store") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
