"""Questions that verbs ask the database: read only, by index, over one connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from aiokafka.structs import TopicPartition

from worker.messages.events import Answer
from worker.store import sql
from worker.store.database import Database
from worker.store.frames import Frames
from worker.store.port import Position
from worker.store.rows import answers_of, position_of
from worker.stream.cluster.offset_fetch_v7 import Committed
from worker.tools.common.connect import connected_to

# How much of the ledger one query reads.
LEDGER_ROWS = 2000
LEDGER_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A lane as Postgres has it; `position` is None if it never ran."""

    id: int
    generation: int
    position: Position | None


def position_in(row: LaneRow | None) -> Position:
    """The position of a lane; 0 for a lane that never ran, or that Postgres does not know."""
    return Position(0, 0, 0) if row is None or row.position is None else row.position


def emitted_of(row: LaneRow | None, committed: Committed | None) -> int:
    """E of a lane: the group's offset, or else the lower bound that Postgres has noted."""
    return position_in(row).emitted if committed is None else committed.offset


@dataclass(frozen=True, slots=True)
class Covered:
    """Offsets of a partition, from `start` to below `stop`, whose results an operation has repeated."""

    partition: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class OpenOperation:
    """An operation that was begun and has not ended. `who` is a user and a host."""

    id: UUID
    verb: str
    who: str
    begun_at: datetime


class Inspection:
    """Questions over one connection, which the caller closes."""

    def __init__(self, connection: sql.Connection) -> None:
        self.connection = connection
        self._frames = Frames()

    async def lanes(self, group_id: str, topic: str) -> dict[int, LaneRow]:
        """Every lane of a group on a topic, by partition."""
        rows = await self.connection.fetch(sql.load("lanes"), group_id, [topic])
        return {row["partition"]: LaneRow(row["id"], row["generation_id"], position_of(row)) for row in rows}

    async def lanes_of_group(self, group_id: str) -> dict[TopicPartition, LaneRow]:
        """Every lane of a group, even of topics that no worker reads now."""
        rows = await self.connection.fetch(sql.load("lanes_of_group", __package__), group_id)
        return {
            TopicPartition(row["topic"], row["partition"]): LaneRow(row["id"], row["generation_id"], position_of(row))
            for row in rows
        }

    async def ledger(self, lane_id: int, start: int, stop: int) -> list[Answer]:
        """The first rows of a lane at these offsets, in order: at most `LEDGER_ROWS`, fewer if they are large."""
        rows = await self.connection.fetch(sql.load("answers"), lane_id, start, stop, LEDGER_ROWS, LEDGER_BYTES)
        return await answers_of(rows, self._frames, self.connection)

    async def covered_repeats(self, topic: str) -> list[Covered]:
        """Repeats that operators caused on a command topic, by a replay or by setting offsets back."""
        rows = await self.connection.fetch(sql.load("covered_repeats", __package__), topic)
        return [Covered(*row) for row in rows]

    async def open_operations(self, seconds: float) -> list[OpenOperation]:
        """Operations that were begun longer ago than this and have not ended, oldest first."""
        rows = await self.connection.fetch(sql.load("open_operations", __package__), seconds)
        return [OpenOperation(**row) for row in rows]


@asynccontextmanager
async def inspection(database: Database) -> AsyncIterator[Inspection]:
    """A connection for questions. Raises `CannotConnect`, after at most ten seconds."""
    async with connected_to(database) as connection:
        # `migrate` takes sessions named `passport-worker NNNN` for workers, and waits for them. A verb is no worker.
        await connection.execute("SET statement_timeout = '20s'; SET application_name = 'passport-worker operator'")
        yield Inspection(connection)
