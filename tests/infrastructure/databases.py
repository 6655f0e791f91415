"""Databases of a test's own on a server that tests share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from tests.infrastructure.zones import far_zone


@asynccontextmanager
async def fresh_database(server_url: str, template: str | None = None) -> AsyncIterator[str]:
    """The URL of a new database, dropped at the end: empty, or a copy of `template`, to which nobody is connected.

    Its sessions are in a time zone where it is another day.
    """
    name = f"test_{uuid4().hex[:12]}"
    copied = "" if template is None else f" TEMPLATE {template} STRATEGY file_copy"
    await _execute(
        server_url, f"CREATE DATABASE {name}{copied}", f"ALTER DATABASE {name} SET timezone = '{far_zone()}'"
    )
    yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    await _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(server_url: str, *statements: str) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
