"""The store with the statements of a release."""

from collections.abc import Mapping

import asyncpg
import pytest

from tests.contract.company_statements import FILLED_IN
from tests.released import Release
from tests.released.usable import signature_of
from worker.store import sql
from worker.store.sql import Connection

_STORE = "worker.store"


async def callable_statements(release: Release, connection: Connection) -> dict[str, str]:
    """The statements of the store that differ from today's, and that today's store can call: types are the same."""
    return {
        name: text
        for (package, name), text in release.statements.items()
        if package == _STORE and name not in FILLED_IN and await _replaces(connection, name, text)
    }


async def _replaces(connection: Connection, name: str, text: str) -> bool:
    try:
        today = sql.load(name)
        if text == today:
            return False
        return signature_of(await connection.prepare(text)) == signature_of(await connection.prepare(today))
    except (FileNotFoundError, asyncpg.PostgresSyntaxError):  # it is gone, or it is several statements
        return False


def use_statements(texts: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store run these statements in place of its own."""
    load = sql.load
    monkeypatch.setattr(
        sql, "load", lambda name, package=_STORE: (package == _STORE and texts.get(name)) or load(name, package)
    )
