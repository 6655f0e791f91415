"""Records the changes that operators make: each has a row in `operation`, written before its first effect."""

import asyncio
import getpass
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from worker.store import sql
from worker.store.sql import Connection
from worker.tools.common.catalogue.file import without_api_keys


class UnknownOperation(ValueError):
    """No operation has this id; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, and why. The reason is stored without the API keys that it names."""

    name: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", without_api_keys(self.reason))


def user_at_host() -> str | None:
    """The user of this process and its host; None if no person has that user, as in a container."""
    try:
        name = getpass.getuser()
        import pwd  # not on Windows

        account = pwd.getpwuid(os.getuid())
    except (ImportError, KeyError, OSError):
        return None
    # `getuser` prefers LOGNAME and USER. A name that somebody set there counts, whatever shell the account has.
    is_service = name == account.pw_name and account.pw_shell.endswith(("/nologin", "/false"))
    return None if is_service else f"{name}@{socket.gethostname()}"


def process_at_host() -> str:
    """The process, for a change by a user who has no name."""
    return f"uid {os.getuid()}@{socket.gethostname()}"


@dataclass(slots=True)
class Operation:
    """An operation under way. Its `progress` is kept when it ends, and by `note`."""

    id: UUID
    arguments: Mapping[str, Any]
    progress: dict[str, Any] = field(default_factory=dict)

    async def note(self, connection: Connection) -> None:
        """Keep the progress now."""
        await connection.execute(sql.load("note_progress", __package__), self.id, json.dumps(self.progress))


@asynccontextmanager
async def operation(
    connection: Connection, verb: str, author: Author, arguments: Mapping[str, Any]
) -> AsyncIterator[Operation]:
    """Record the work of the context in a row: `done`, `failed` by an exception, or `interrupted` by a signal.

    `arguments` go into the database, so they must hold no credentials. Raises what the database raises.
    """
    begun = Operation(uuid4(), arguments)
    await connection.execute(
        sql.load("begin_operation", __package__), begun.id, verb, author.name, author.reason, json.dumps(arguments)
    )
    async with _until_its_end(connection, begun):
        yield begun


@asynccontextmanager
async def resumed(connection: Connection, verb: str, id: UUID, author: Author) -> AsyncIterator[Operation]:
    """Resume an operation with the arguments that its row has. Raises `UnknownOperation`.

    The row keeps its first author; its progress names everybody who resumed it, under `resumedBy`.
    """
    row = await connection.fetchrow(sql.load("operation", __package__), id)
    if row is None or row["verb"] != verb:
        raise UnknownOperation(f"expected the id of a {verb}; no {verb} has the id {id}")
    begun = Operation(id, json.loads(row["arguments"]), json.loads(row["progress"]))
    begun.progress.setdefault("resumedBy", []).append(author.name)
    await connection.execute(sql.load("resume_operation", __package__), id, json.dumps(begun.progress))
    async with _until_its_end(connection, begun):
        yield begun


@asynccontextmanager
async def _until_its_end(connection: Connection, begun: Operation) -> AsyncIterator[None]:
    try:
        yield
    except (asyncio.CancelledError, KeyboardInterrupt, Exception) as error:
        with suppress(Exception):  # the first failure is the one to report
            await _end(connection, begun, "failed" if isinstance(error, Exception) else "interrupted")
        raise
    await _end(connection, begun, "done")


async def _end(connection: Connection, begun: Operation, outcome: str) -> None:
    query = sql.load("end_operation", __package__)
    await connection.execute(query, begun.id, outcome, json.dumps(begun.progress))
