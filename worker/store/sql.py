"""The store's queries, one named file each, and the kind of connection that they run on."""

from functools import cache
from importlib.resources import files
from typing import TypeAlias

import asyncpg

# A string, because neither class takes a parameter at run time, only in its stubs.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


@cache
def load(name: str) -> str:
    """The text of `worker/store/sql/<name>.sql`; raises `FileNotFoundError` where there is none."""
    return (files("worker.store") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
