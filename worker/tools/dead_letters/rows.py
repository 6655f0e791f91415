"""Reads dead letters and redrives from the database, and writes the rows of redrives."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from worker.domain.command import DeadLetter
from worker.domain.places import Place
from worker.settings import Settings
from worker.store import sql
from worker.store.rows import dead_letter_of
from worker.store.sql import Connection
from worker.tools.common.selection import Range


@dataclass(frozen=True, slots=True)
class LetterHead:
    """A dead letter in a list. `key` holds the first 256 bytes; `value_bytes` is None for a null value.

    `times` counts how often the command was published again; `new_offset` is None while the last time is not settled.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    appended_at: datetime | None
    company_id: str | None
    key: bytes | None
    value_bytes: int | None
    times: int
    new_offset: int | None
    operation_id: UUID | None


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A whole dead letter."""

    letter: DeadLetter
    appended_at: datetime | None
    company_id: str | None


@dataclass(frozen=True, slots=True)
class Redrive:
    """The `times`-th time that a command was published again; `new_offset` is None while that is not settled.

    `log_end` is where its partition ended before. `is_unfinished`: the operation was interrupted, has failed, or runs.
    """

    times: int
    log_end: int
    new_offset: int | None
    operation_id: UUID
    who: str
    is_unfinished: bool
    group_id: str | None


async def list_letters(
    connection: Connection, settings: Settings, chosen: Range, code: str | None, most: int
) -> list[LetterHead]:
    """The newest dead letters of a group on all channels, newest first. Raises `DATABASE_ERRORS`."""
    bounds = (chosen.start, chosen.stop)
    rows = await connection.fetch(
        sql.load("list_dead_letters", __package__),
        settings.group_id,
        list(settings.by_commands),
        list(chosen.partitions),
        *(bound if isinstance(bound, int) else None for bound in bounds),
        *(bound if isinstance(bound, datetime) else None for bound in bounds),
        code,
        most,
    )
    return [LetterHead(**{**row, "times": row["times"] or 0}) for row in rows]


async def find_letter(connection: Connection, group_id: str, command: Place) -> StoredLetter | None:
    """The dead letter of a command; None if it has none, or its day was dropped."""
    row = await connection.fetchrow(sql.load("find_dead_letter", __package__), group_id, *command)
    return None if row is None else StoredLetter(dead_letter_of(row), row["appended_at"], row["company_id"])


async def redrives_of(connection: Connection, command: Place) -> list[Redrive]:
    """Every time that a command was published again, or was about to be, oldest first."""
    return [Redrive(**row) for row in await connection.fetch(sql.load("redrives", __package__), *command)]


async def begin_redrive(connection: Connection, command: Place, times: int, operation_id: UUID, log_end: int) -> bool:
    """Insert a row before anything is sent; False if another process has begun the same redrive."""
    query = sql.load("begin_redrive", __package__)
    return await connection.fetchval(query, *command, times, operation_id, log_end) is not None


async def note_redrive(connection: Connection, command: Place, times: int, new_offset: int, operation_id: UUID) -> None:
    """Store where the command was published; from now on the row belongs to this operation."""
    await connection.execute(sql.load("note_redrive", __package__), *command, times, new_offset, operation_id)
