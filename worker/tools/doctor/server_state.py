"""The state of the database server: version, durability, free connections, and sessions that hold up others."""

from dataclasses import dataclass
from datetime import datetime

from worker.store import sql
from worker.store.sql import Connection


@dataclass(frozen=True, slots=True)
class ServerState:
    """Settings as they hold for the connection's role and database.

    `version` is the server's own text, `major` its first number. With `has_standbys`, commits wait for other servers.
    The role may open `free_connections` more.
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
    """A session, and how many others wait for its locks. Values are None if the server hides them from the role.

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
    """The sessions that have kept others waiting for this long. Raises the driver's exceptions."""
    return [LockHolder(**row) for row in await connection.fetch(sql.load("lock_holders", __package__), seconds)]


async def server_state(connection: Connection) -> ServerState:
    """The current state. Raises the driver's exceptions."""
    row = await connection.fetchrow(sql.load("server_state", __package__))
    assert row is not None, "the role and the database exist"
    return ServerState(**row)
