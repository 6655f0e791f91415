"""Single connections of tools to the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from worker.store.database import Database
from worker.store.errors import DATABASE_ERRORS, postgres_fault
from worker.store.sql import Connection

OWNER_ADVICE = "name the owner of the tables in PASSPORT_DATABASE_URL"
"""For a role that lacks a right to change something."""


class CannotConnect(Exception):
    """There is no connection. The text says where, why and what to do, and holds no password."""


async def connect(database: Database) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection, which the caller closes. Raises `CannotConnect`, after at most ten seconds."""
    try:
        return await database.connect(timeout=10.0)
    except (*DATABASE_ERRORS, ValueError) as error:
        raise CannotConnect(str(postgres_fault(error, database))) from error


@asynccontextmanager
async def connected_to(database: Database) -> AsyncIterator[Connection]:
    """A connection for as long as the context lasts. Raises `CannotConnect`, after at most ten seconds."""
    connection = await connect(database)
    try:
        yield connection
    finally:
        with suppress(TimeoutError):  # then it is cut off, which undoes nothing
            await connection.close(timeout=1.0)


def is_denied(error: BaseException | None) -> bool:
    """Whether the error, or a cause of it, says that the role lacks a right."""
    return error is not None and (isinstance(error, asyncpg.InsufficientPrivilegeError) or is_denied(error.__cause__))
