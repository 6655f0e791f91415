"""Applies numbered SQL migrations: each once, by one process at a time, while workers run.

A worker that needs a table waits behind a migration that waits for a lock on it. So a migration waits only briefly,
lets the workers go first, and tries again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import asyncpg

from worker import __version__
from worker.messages.hints import CheckResult
from worker.store import sql
from worker.store.partitions import ensure_days
from worker.store.schema import Migration, pending_migrations
from worker.store.sql import Connection
from worker.tools.common.journal import Author, operation
from worker.tools.common.migration_header import Header, header_of, index_of

_POLL_SECONDS = 0.1
_SILENT_POLLS = 10


class MigrationError(Exception):
    """This version may not migrate the database. The message says why and what to do."""


class OlderWorkers(Exception):
    """Workers are connected that would answer wrongly on the schema that a migration makes."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a migration waits for the locks that it needs, how often, and how long workers go first in between.

    It waits as often for workers that cannot run on its schema to end. If this process falls silent in a migration,
    because it is frozen or cut off, Postgres ends its session after `silent_seconds`.
    """

    tries: int = 60
    # Longer than `deadlock_timeout`, by default 1 s: only then does Postgres cancel an autovacuum that is in the way.
    lock_seconds: float = 1.2
    pause_seconds: float = 3.0
    silent_seconds: float = 10.0


async def migrate(
    connection: Connection,
    author: Author | None = None,
    patience: Patience = Patience(),
    say: Callable[[str], None] = lambda text: None,
    name_applied: Callable[[str], None] = lambda name: None,
) -> list[str]:
    """Bring the database to this version, and make the partitions of the coming days. Returns the applied names.

    Each migration has a row of `operation`, if there is an author. `say` gets a sentence for each wait, `name_applied`
    the name of a migration once it is committed: a later one may fail, or the process may be killed.
    Safe to repeat, and for many processes at once: they take turns, and each sees what the others have applied. Raises
    `MigrationError` when this version does not fit the database, when a migration does not get its locks, or when
    workers stay connected that cannot run on its schema.
    """
    applied = []
    while name := await _apply_next(connection, author, patience, say):
        applied.append(name)
        name_applied(name)
    await ensure_days(connection)
    return applied


@asynccontextmanager
async def alone(connection: Connection, say: Callable[[str], None] = lambda text: None) -> AsyncIterator[None]:
    """A transaction in which no other process migrates or grants. `say` gets a sentence if it has to wait.

    The lock ends with the transaction, so a lost connection frees it, and a pooler in between does no harm.
    """
    for polls in count(1):
        # Whatever the server's default is: a snapshot from before the lock would hide what others have applied.
        async with connection.transaction(isolation="read_committed"):
            if await connection.fetchval(sql.load("try_lock_migrations", __package__)):
                yield
                return
        await _pause(polls, say)


@asynccontextmanager
async def _alone_in_session(connection: Connection, say: Callable[[str], None]) -> AsyncIterator[None]:
    polls = 0
    while not await connection.fetchval(sql.load("try_lock_migrations_in_session", __package__)):
        polls += 1
        await _pause(polls, say)
    try:
        yield
    finally:
        # A lost connection has freed the lock already.
        if not connection.is_closed():
            await connection.execute(sql.load("unlock_migrations", __package__))


async def _pause(polls: int, say: Callable[[str], None]) -> None:
    # Said once. Postgres may still be building the index of a killed process, and nobody knows for how long.
    if polls == _SILENT_POLLS:
        say("another `migrate` is at work, or Postgres still finishes what a killed one began; waiting for its end")
    await asyncio.sleep(_POLL_SECONDS)


async def _apply_next(
    connection: Connection, author: Author | None, patience: Patience, say: Callable[[str], None]
) -> str | None:
    for left in reversed(range(patience.tries)):
        try:
            async with alone(connection, say):
                await connection.execute(sql.load("create_schema_migration", __package__))
                migration = await _next(connection)
                if migration is None:
                    return None
                header = header_of(migration)
                await _check_workers(connection, migration, header)
                if header.in_transaction:
                    limits = (f"{patience.lock_seconds}s", f"{patience.silent_seconds}s")
                    await connection.execute(sql.load("lock_patience", __package__), *limits)
                    await connection.execute(migration.text)
                    await _record(connection, migration, header, author)
            if header.in_transaction or await _apply_outside(connection, migration, header, author, say):
                return migration.name
            return await _apply_next(connection, author, patience, say)  # another process was faster
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, OlderWorkers) as error:
            if not left:
                raise MigrationError(_in_vain(error, patience.tries)) from error
            cause = str(error) if isinstance(error, OlderWorkers) else "others hold locks that the migration needs"
            say(f"{cause}; {left} more tries, the next in {patience.pause_seconds} s")
            await asyncio.sleep(patience.pause_seconds)
    raise AssertionError("a migration has at least one try")


def _in_vain(error: Exception, tries: int) -> str:
    if isinstance(error, OlderWorkers):
        advice = "Stop these workers, then repeat. `migrate --plan` says beforehand whether they have to stop."
        return f"The migration was not applied in {tries} tries: {error}. {advice}"
    advice = "Run `passport-worker doctor`: postgres.locks names long transactions. End them, then repeat."
    return f"The migration did not get its locks in {tries} tries: {error}. {advice}"


async def _check_workers(connection: Connection, migration: Migration, header: Header) -> None:
    """Raise `OlderWorkers` if some are connected. An older worker that starts later sees the schema, and ends."""
    await connection.execute(sql.load("forget_sessions", __package__))
    if older := await connection.fetch(sql.load("older_workers", __package__), header.readable_from):
        schemas = " and ".join(schema for (schema,) in older)
        oldest = f"{header.readable_from:04} or newer"
        raise OlderWorkers(f"{migration.name} needs workers of schema {oldest}, and some of {schemas} are connected")


async def _next(connection: Connection) -> Migration | None:
    pending = await pending_migrations(connection)
    if isinstance(pending, CheckResult):
        raise MigrationError(str(pending))
    return pending[0] if pending else None


async def _apply_outside(
    connection: Connection, migration: Migration, header: Header, author: Author | None, say: Callable[[str], None]
) -> bool:
    """Apply a migration of a single statement that runs in no transaction, and may have been killed midway.

    It waits for transactions, and no worker waits for it, so it waits without a limit. False: it is not the next one.
    """
    async with _alone_in_session(connection, say):
        # Another process may have applied it between the two locks.
        if await _next(connection) != migration:
            return False
        index = index_of(migration)
        # A killed CREATE INDEX CONCURRENTLY leaves an invalid index. IF NOT EXISTS would take it for a good one.
        if index is not None and (remains := await connection.fetchval(sql.load("invalid_index", __package__), index)):
            await connection.execute(f"DROP INDEX CONCURRENTLY {remains}")
        await connection.execute(migration.text)
        async with connection.transaction():
            await _record(connection, migration, header, author)
    return True


async def _record(connection: Connection, migration: Migration, header: Header, author: Author | None) -> None:
    # Again, for workers that have started meanwhile: until this row is committed, they take the schema for their own.
    await _check_workers(connection, migration, header)
    columns = (migration.version, migration.name, migration.checksum, header.readable_from, __version__)
    await connection.execute(sql.load("record_migration", __package__), *columns)
    if author is not None:  # only the first migration makes a table for it
        async with operation(connection, "migrate", author, {"migration": migration.name}):
            pass
