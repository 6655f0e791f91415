"""Migrations that a later version may bring."""

import pytest

from worker.store import schema
from worker.store.schema import Migration, known_migrations


def future(version: int, text: str, *, readable_from: int | None = None, transaction: bool = True) -> Migration:
    """A migration with its header. Only workers that bring it can run on it, unless `readable_from` is older."""
    lines = [f"-- readable from: {readable_from or version:04}", "-- locks: nothing", "-- takes: 0.0 s"]
    if not transaction:
        lines.append("-- transaction: none")
    return Migration(version, f"{version:04}_future.sql", "\n".join((*lines, text)))


def bring(monkeypatch: pytest.MonkeyPatch, *more: Migration) -> None:
    """Let this version bring more migrations than it does."""
    brought = (*known_migrations(), *more)
    monkeypatch.setattr(schema, "known_migrations", lambda: brought)
