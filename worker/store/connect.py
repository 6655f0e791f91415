"""Single connections of the command line, and why a database will not have us, however long we wait."""

import asyncpg

from worker.messages.hints import Finding
from worker.store.address import place_of

_ADVICE = {
    "3D000": "Create it (CREATE DATABASE), or correct the name in PASSPORT_DATABASE_URL.",
    "28P01": "Correct user and password in PASSPORT_DATABASE_URL, or create the role (CREATE ROLE … LOGIN PASSWORD …).",
    "28000": "Create the role (CREATE ROLE … LOGIN), let it in (pg_hba.conf), or correct PASSPORT_DATABASE_URL.",
    "42501": "Give the role of PASSPORT_DATABASE_URL what it lacks (GRANT CONNECT ON DATABASE … TO …).",
}
"""By SQLSTATE: invalid catalog name, invalid password, invalid authorization, insufficient privilege."""


def why_refused(error: BaseException | None) -> Finding | None:
    """What the server said to a connection, without a password; None where waiting may help."""
    if not isinstance(error, asyncpg.PostgresError) or error.sqlstate not in _ADVICE:
        return None
    said, *_ = str(error).splitlines()
    return Finding("postgres.reachable", f"The database refuses us: {said}", _ADVICE[error.sqlstate])


class CannotConnect(Exception):
    """There is no connection; the text says where, why and what to do, and holds no password."""


async def connect(database_url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection that whoever asks for it closes. Raises `CannotConnect`, after at most ten seconds."""
    try:
        return await asyncpg.connect(database_url, timeout=10.0)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise CannotConnect(str(why_refused(error) or why_unreachable(database_url, error))) from error


def why_unreachable(database_url: str, error: BaseException | None) -> str:
    """Where there is no connection, and what was said to it, without a password."""
    return f"cannot connect to PASSPORT_DATABASE_URL ({place_of(database_url)}): {said_by(error)}"


def said_by(error: BaseException | None) -> str:
    """What failed, in one line; nothing of the texts that may quote the URL."""
    said, *_ = str(error).splitlines() or [""]
    told = f": {said}" if isinstance(error, OSError | asyncpg.PostgresError) else ""
    return f"{type(error).__name__}{told}"
