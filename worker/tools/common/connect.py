"""Single connections of tools to the database."""

import asyncpg

from worker.store.address import place_of
from worker.store.errors import why_refused

# The exceptions of a question over a connection.
DATABASE_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class CannotConnect(Exception):
    """There is no connection. The text says where, why and what to do, and holds no password."""


async def connect(database_url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection, which the caller closes. Raises `CannotConnect`, after at most ten seconds."""
    try:
        return await asyncpg.connect(database_url, timeout=10.0)
    except (*DATABASE_ERRORS, ValueError) as error:
        raise CannotConnect(str(why_refused(error) or why_unreachable(database_url, error))) from error


def why_unreachable(database_url: str, error: BaseException | None) -> str:
    """The address and the error of an attempt to connect, without a password."""
    return f"cannot connect to PASSPORT_DATABASE_URL ({place_of(database_url)}): {said_by(error)}"


def said_by(error: BaseException | None) -> str:
    """The error in one line, without texts that may quote the URL."""
    first_line, *_ = str(error).splitlines() or [""]
    detail = f": {first_line}" if isinstance(error, OSError | asyncpg.PostgresError) else ""
    return f"{type(error).__name__}{detail}"


def is_denied(error: BaseException | None) -> bool:
    """Whether the error, or a cause of it, says that the role lacks a right."""
    return error is not None and (isinstance(error, asyncpg.InsufficientPrivilegeError) or is_denied(error.__cause__))
