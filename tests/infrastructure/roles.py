"""A database of two roles, as in production: one owns the tables, the other runs the worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg


@dataclass(frozen=True)
class Roles:
    """The two roles by name, and one database as each of them. `run` has no rights yet."""

    owner: str
    run: str
    owner_url: str
    run_url: str


@asynccontextmanager
async def two_roles(server_url: str) -> AsyncIterator[Roles]:
    """An empty database and its roles, dropped at the end; `server_url` is a superuser's."""
    suffix = uuid4().hex[:8]
    owner, run, database = f"Owner-{suffix}", f"run_{suffix}", f"two_roles_{suffix}"
    connection = await asyncpg.connect(server_url)
    try:
        for role in (owner, run):
            await connection.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{suffix}'")
        await connection.execute(f'CREATE DATABASE {database} OWNER "{owner}"')
        yield Roles(owner, run, *(_url(server_url, role, suffix, database) for role in (owner, run)))
        await connection.execute(f"DROP DATABASE {database} WITH (FORCE)")
        await connection.execute(f'DROP ROLE "{owner}", {run}')
    finally:
        await connection.close()


def _url(server_url: str, role: str, password: str, database: str) -> str:
    parts = urlsplit(server_url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{place}", path=f"/{database}"))
