"""Which answers of a database to a connection are final."""

import socket

import asyncpg
import pytest

from worker.store.errors import why_refused


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (asyncpg.InvalidCatalogNameError('database "x" does not exist'), "CREATE DATABASE"),
        (asyncpg.InvalidPasswordError('password authentication failed for user "w"'), "Correct user and password"),
        (asyncpg.InvalidAuthorizationSpecificationError('role "w" does not exist'), "CREATE ROLE"),
        (asyncpg.InsufficientPrivilegeError('permission denied for database "x"'), "GRANT CONNECT"),
    ],
)
def test_what_waiting_does_not_mend_comes_with_advice(error: Exception, advice: str) -> None:
    """What the server said, what to create, and the setting."""
    said = str(why_refused(error))
    assert said.startswith(f"The database refuses us: {error}. ")
    assert advice in said
    assert "PASSPORT_DATABASE_URL" in said


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        ConnectionRefusedError(),
        socket.gaierror(-2, "Name or service not known"),
        TimeoutError(),
        None,
    ],
)
def test_a_server_that_is_away_or_full_is_waited_for(error: Exception | None) -> None:
    """It may be back."""
    assert why_refused(error) is None
