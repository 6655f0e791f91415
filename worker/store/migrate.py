"""Numbered SQL migrations, each applied once, in its own transaction, by one process at a time."""

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from worker.messages.hints import Finding
from worker.store import sql
from worker.store.partitions import ensure_days
from worker.store.sql import Connection

SCHEMA = "postgres.schema"
"""The id of what is found about the schema."""

_FILE_NAME = re.compile(r"([0-9]{4})_[a-z0-9_]+\.sql")


class MigrationError(Exception):
    """The database is not one that this version may migrate; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `worker/store/migrations`; `name` is the file's name, its first four digits are `version`."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the text, with the same line ends on every platform."""
        return sha256(self.text.encode()).digest()


@cache
def known_migrations() -> tuple[Migration, ...]:
    """The migrations that this version brings, by version."""
    paths = sorted((files("worker.store") / "migrations").iterdir(), key=lambda path: path.name)
    named = [(match, path) for path in paths if (match := _FILE_NAME.fullmatch(path.name))]
    return tuple(Migration(int(match[1]), path.name, path.read_text(encoding="utf-8")) for match, path in named)


async def migrate(connection: Connection) -> list[str]:
    """Bring the database to this version and make the partitions of the coming days; names of what was applied now.

    Safe to run again, and by many at once: they take turns, and each finds what the others have done. Raises
    `MigrationError` when the database is newer than this version, or when an applied migration has changed.
    """
    applied = []
    while name := await _apply_next(connection):
        applied.append(name)
    await ensure_days(connection)
    return applied


async def check_schema(connection: Connection) -> Finding | None:
    """None when the database is exactly at this version. Read only."""
    if not await connection.fetchval(sql.load("has_schema_migration")):
        return _behind("empty")
    applied = await _applied(connection)
    pending = _pending(applied)
    if foreign := _foreign(applied):
        return foreign
    if pending:
        return _behind(f"{'older than this version' if applied else 'empty'} (next: {pending[0].name})")
    return None


def _behind(how: str) -> Finding:
    return Finding(SCHEMA, f"The database is {how}", "run `passport-worker migrate`.")


async def _apply_next(connection: Connection) -> str | None:
    async with connection.transaction(isolation="read_committed"):
        # Bound to the transaction, the lock cannot outlive a lost connection, and a pooler in between does no harm.
        await connection.execute(sql.load("lock_migrations"))
        await connection.execute(sql.load("create_schema_migration"))
        applied = await _applied(connection)
        if foreign := _foreign(applied):
            raise MigrationError(str(foreign))
        pending = _pending(applied)
        if not pending:
            return None
        return await _apply(connection, pending[0])


async def _apply(connection: Connection, migration: Migration) -> str:
    await connection.execute(migration.text)
    await connection.execute(sql.load("record_migration"), migration.version, migration.name, migration.checksum)
    return migration.name


async def _applied(connection: Connection) -> dict[int, tuple[str, bytes]]:
    rows = await connection.fetch(sql.load("applied_migrations"))
    return {row["version"]: (row["name"], row["sha256"]) for row in rows}


def _pending(applied: dict[int, tuple[str, bytes]]) -> list[Migration]:
    return [migration for migration in known_migrations() if migration.version not in applied]


def _foreign(applied: dict[int, tuple[str, bytes]]) -> Finding | None:
    """What was applied that this version does not bring, or not in this form."""
    known = {migration.version: migration for migration in known_migrations()}
    for version, (name, checksum) in applied.items():
        if version not in known:
            found = f"The database is newer than this version ({name} was applied)"
            return Finding(SCHEMA, found, "deploy a newer worker.")
        if known[version].checksum != checksum:
            found = f"The migration {known[version].name} has changed since it was applied"
            advice = "restore the file as it was released, and put the change into a new migration."
            return Finding(SCHEMA, found, advice)
    return None
