"""Why a database will not have us, however long we wait; a server that is away, or full, may well be back."""

import asyncpg

_ADVICE = {
    "3D000": "Create it (CREATE DATABASE), or correct the name in PASSPORT_DATABASE_URL.",
    "28P01": "Correct user and password in PASSPORT_DATABASE_URL, or create the role (CREATE ROLE … LOGIN PASSWORD …).",
    "28000": "Create the role (CREATE ROLE … LOGIN), let it in (pg_hba.conf), or correct PASSPORT_DATABASE_URL.",
    "42501": "Give the role of PASSPORT_DATABASE_URL what it lacks (GRANT CONNECT ON DATABASE … TO …).",
}
"""By SQLSTATE: invalid catalog name, invalid password, invalid authorization, insufficient privilege."""


def why_refused(error: BaseException | None) -> str | None:
    """What the server said to a connection and what to do about it; None where waiting may help. No password in it."""
    if not isinstance(error, asyncpg.PostgresError) or error.sqlstate not in _ADVICE:
        return None
    said, *_ = str(error).splitlines()
    return f"The database refuses us: {said}. {_ADVICE[error.sqlstate]}"
