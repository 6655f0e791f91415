"""What the database server says of itself: version, what it keeps, its clock, and connections that are left."""

import time
from dataclasses import dataclass
from datetime import datetime

from worker.store import sql
from worker.store.sql import Connection


@dataclass(frozen=True, slots=True)
class ServerState:
    """Settings as they hold for our role and database; `free_connections` are those that it may still open.

    `version` is the server's own text, `major` its first number. `has_standbys`: commits wait for other servers.
    """

    version: str
    major: int
    in_recovery: bool
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    has_standbys: bool
    free_connections: int


@dataclass(frozen=True, slots=True)
class LockHolder:
    """A session, and how many others wait for its locks; None for what its role keeps from us.

    A prepared transaction has no session, and no `pid`.
    """

    pid: int | None
    role: str | None
    application: str | None
    address: str | None
    state: str | None
    since: datetime | None
    kept_waiting: int


async def lock_holders(connection: Connection, seconds: float) -> list[LockHolder]:
    """Who has kept others waiting for so long. Raises what the driver does."""
    return [LockHolder(**row) for row in await connection.fetch(sql.load("lock_holders"), seconds)]


async def server_state(connection: Connection) -> ServerState:
    """As it is now. Raises what the driver does."""
    row = await connection.fetchrow(sql.load("server_state"))
    assert row is not None, "our role and our database are there"
    return ServerState(**row)


async def clock_ahead(connection: Connection) -> float:
    """Seconds by which the server's clock is ahead of ours, negative where it is behind; right to half a round trip."""
    query = sql.load("clock")
    await connection.fetchval(query)  # prepares it, which takes round trips, too
    before = time.time()
    there: float = await connection.fetchval(query)
    return there - (before + time.time()) / 2
