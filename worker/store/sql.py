"""Loads queries from named files, and defines the types of connections that they run on."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from functools import cache
from importlib.resources import files
from typing import Any, Protocol, TypeAlias

import asyncpg

# A string, since the classes take parameters only in their stubs, not at run time.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


class Sessions(Protocol):
    """Lends connections to the database, as `PostgresStore` does."""

    def session(self) -> AbstractAsyncContextManager[Connection]:
        """A connection, closed after any failure. Raises `StoreUnavailable`."""


@cache
def load(name: str, package: str = "worker.store") -> str:
    """The text of `sql/<name>.sql` in the folder of a package."""
    return (files(package) / "sql" / f"{name}.sql").read_text(encoding="utf-8")


async def fetch(connection: Connection, query: str, *keys: Collection[Any]) -> "list[asyncpg.Record]":
    """The rows of a query of the store whose arguments are columns of keys. Sends nothing if there are no keys."""
    return await connection.fetch(load(query), *map(list, keys)) if keys[0] else []
