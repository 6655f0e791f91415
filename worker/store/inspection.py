"""What operators ask of the database: read only, by index, over one connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from worker.store import sql
from worker.store.connect import connect
from worker.store.port import Position
from worker.store.rows import position_of


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A lane as Postgres has it; `position` is None for one that never ran.

    `producers` are the transactional ids that may have something open for it.
    """

    id: int
    partition: int
    epoch: int
    generation: int
    member: str
    producers: frozenset[str]
    position: Position | None


class Inspection:
    """Questions over one connection, which whoever opened it closes."""

    def __init__(self, connection: sql.Connection) -> None:
        self.connection = connection

    async def lanes(self, group_id: str, topic: str) -> dict[int, LaneRow]:
        """Every lane of a group on a topic, by partition."""
        rows = await self.connection.fetch(sql.load("lanes"), group_id, topic)
        return {
            row["partition"]: LaneRow(
                row["id"],
                row["partition"],
                row["epoch"],
                row["generation_id"],
                row["member_id"],
                frozenset(row["producers"]),
                position_of(row),
            )
            for row in rows
        }


@asynccontextmanager
async def inspection(database_url: str) -> AsyncIterator[Inspection]:
    """A connection for questions. Raises `CannotConnect`, after at most ten seconds."""
    connection = await connect(database_url)
    try:
        await connection.execute("SET statement_timeout = '20s'; SET application_name = 'passport-worker operator'")
        yield Inspection(connection)
    finally:
        await connection.close(timeout=1.0)
