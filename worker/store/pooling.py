"""Checks that a database session is the worker's own and has its settings. A pooler in between can break both."""

from collections.abc import Mapping

from worker.messages.hints import CheckResult
from worker.store.errors import POOL_SESSIONS, SHARED_SESSION, SHARED_STATEMENTS
from worker.store.sql import Connection

SESSION = "postgres.session"
_PROBE = "passport_worker.probe"


async def check_session(connection: Connection, other: Connection, expected: Mapping[str, str]) -> CheckResult | None:
    """Say what is wrong with a session, if anything: its settings differ from `expected`, or `other` shares it."""
    try:
        settings = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in expected}
        # A shared session loses a setting, or shows it on the other connection, too.
        await connection.execute(f"SET {_PROBE} = 'own'")
        seen = await other.fetchval("SELECT current_setting($1, true)", _PROBE)
        own = await connection.fetchval("SELECT current_setting($1, true)", _PROBE)
        await connection.execute(f"RESET {_PROBE}")
        is_shared = bool(seen) or own != "own"
    except SHARED_STATEMENTS:
        is_shared = True
    if is_shared:
        return CheckResult(SESSION, SHARED_SESSION, POOL_SESSIONS)
    if wrong := [name for name, value in expected.items() if settings[name] != value]:
        named = ", ".join(f"{name} is {settings[name]}, expected {expected[name]}" for name in wrong)
        return CheckResult(SESSION, f"the session lost settings: {named}", POOL_SESSIONS)
    return None
