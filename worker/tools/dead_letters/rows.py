"""Dead letters as the database keeps them, and what became of publishing their commands again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from worker.domain.command import DeadLetter
from worker.domain.places import Place
from worker.store import sql
from worker.store.rows import dead_letter_of
from worker.store.sql import Connection


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which dead letters: None, and no partitions, stand for any. Stops are exclusive; times are of appending."""

    partitions: Sequence[int] = ()
    start: int | datetime | None = None
    stop: int | datetime | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class LetterHead:
    """What a list tells of a dead letter. `key` holds the first 256 bytes; `value_bytes` is None for a null value.

    `times` is 0 where nobody has published it again; else `new_offset` is where, None where that is not known.
    """

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
    """All of one."""

    letter: DeadLetter
    appended_at: datetime | None
    company_id: str | None


@dataclass(frozen=True, slots=True)
class Redrive:
    """A command that was published again for the `times`-th time, or is about to be: then `new_offset` is None.

    `log_end` is where its partition ended before. `is_unfinished`: the operation was interrupted, has failed, or runs.
    """

    times: int
    log_end: int
    new_offset: int | None
    operation_id: UUID
    who: str
    begun_at: datetime
    is_unfinished: bool
    group_id: str | None


async def list_letters(
    connection: Connection, group_id: str, topic: str, chosen: Chosen, most: int
) -> list[LetterHead]:
    """The newest dead letters of a group, newest first. Raises `DATABASE_ERRORS`, as all here do."""
    rows = await connection.fetch(
        sql.load("list_dead_letters", __package__),
        group_id,
        topic,
        list(chosen.partitions),
        *(one if isinstance(one, int) else None for one in (chosen.start, chosen.stop)),
        *(one if isinstance(one, datetime) else None for one in (chosen.start, chosen.stop)),
        chosen.code,
        most,
    )
    return [LetterHead(**{**row, "times": row["times"] or 0}) for row in rows]


async def find_letter(connection: Connection, group_id: str, place: Place) -> StoredLetter | None:
    """The dead letter of a command; None where there is none, or its day was dropped."""
    row = await connection.fetchrow(
        sql.load("find_dead_letter", __package__), group_id, place.topic, place.partition, place.offset
    )
    return None if row is None else StoredLetter(dead_letter_of(row), row["appended_at"], row["company_id"])


async def redrives_of(connection: Connection, place: Place) -> list[Redrive]:
    """Each time that a command was published again, or was about to be, oldest first."""
    rows = await connection.fetch(sql.load("redrives", __package__), place.topic, place.partition, place.offset)
    return [Redrive(**row) for row in rows]


async def begin_redrive(connection: Connection, place: Place, times: int, operation_id: UUID, log_end: int) -> bool:
    """Note it before anything is sent; False where somebody else has begun the same."""
    values = (place.topic, place.partition, place.offset, times, operation_id, log_end)
    return await connection.fetchval(sql.load("begin_redrive", __package__), *values) is not None


async def note_redrive(connection: Connection, place: Place, times: int, new_offset: int, operation_id: UUID) -> None:
    """Where it was published; from now on the row is this operation's."""
    values = (place.topic, place.partition, place.offset, times, new_offset, operation_id)
    await connection.execute(sql.load("note_redrive", __package__), *values)
