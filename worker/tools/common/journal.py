"""What operators did: a row of `operation` each, begun before the first effect."""

import asyncio
import getpass
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from worker.store import sql
from worker.tools.common.inspection import Inspection


class UnknownOperation(ValueError):
    """There is no such operation; the text says what was looked for."""


@dataclass(slots=True)
class Operation:
    """One that is under way. `progress` is kept when it ends, and by `note`."""

    id: UUID
    arguments: Mapping[str, Any]
    progress: dict[str, Any] = field(default_factory=dict)

    async def note(self, database: Inspection) -> None:
        """Keep its progress now."""
        await database.connection.execute(sql.load("note_progress", __package__), self.id, json.dumps(self.progress))


@asynccontextmanager
async def operation(
    database: Inspection, verb: str, reason: str, arguments: Mapping[str, Any]
) -> AsyncIterator[Operation]:
    """Keep a row of what happens inside: `done`, `failed` by an exception, or `interrupted` by a signal.

    `arguments` go into the database: no credential may be among them. Raises what the database does.
    """
    one = Operation(uuid4(), arguments)
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    await database.connection.execute(
        sql.load("begin_operation", __package__), one.id, verb, who, reason, json.dumps(arguments)
    )
    async with _until_its_end(database, one):
        yield one


@asynccontextmanager
async def resumed(database: Inspection, verb: str, id: UUID) -> AsyncIterator[Operation]:
    """Go on with an operation that was begun, with its own arguments. Raises `UnknownOperation`."""
    row = await database.connection.fetchrow(sql.load("operation", __package__), id)
    if row is None or row["verb"] != verb:
        raise UnknownOperation(f"expected the id of a {verb}, and there is none {id}")
    one = Operation(id, json.loads(row["arguments"]), json.loads(row["progress"]))
    await database.connection.execute(sql.load("resume_operation", __package__), id)
    async with _until_its_end(database, one):
        yield one


@asynccontextmanager
async def _until_its_end(database: Inspection, one: Operation) -> AsyncIterator[None]:
    try:
        yield
    except (asyncio.CancelledError, KeyboardInterrupt):
        with suppress(Exception):
            await _end(database, one, "interrupted")
        raise
    except Exception:
        with suppress(Exception):  # the first failure is the one to tell of
            await _end(database, one, "failed")
        raise
    await _end(database, one, "done")


async def _end(database: Inspection, one: Operation, outcome: str) -> None:
    await database.connection.execute(sql.load("end_operation", __package__), one.id, outcome, json.dumps(one.progress))
