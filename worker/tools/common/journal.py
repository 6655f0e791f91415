"""Keeps what operators did: each operation has a row in `operation`, begun before its first effect."""

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
    """No operation has this id; the text says what was expected."""


@dataclass(slots=True)
class Operation:
    """An operation under way. Its `progress` is kept when it ends, and by `note`."""

    id: UUID
    arguments: Mapping[str, Any]
    progress: dict[str, Any] = field(default_factory=dict)

    async def note(self, database: Inspection) -> None:
        """Keep the progress now."""
        await database.connection.execute(sql.load("note_progress", __package__), self.id, json.dumps(self.progress))


@asynccontextmanager
async def operation(
    database: Inspection, verb: str, reason: str, arguments: Mapping[str, Any]
) -> AsyncIterator[Operation]:
    """Keep a row of what happens inside: `done`, `failed` by an exception, or `interrupted` by a signal.

    `arguments` go into the database, so they must hold no credentials. Raises what the database raises.
    """
    begun = Operation(uuid4(), arguments)
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    await database.connection.execute(
        sql.load("begin_operation", __package__), begun.id, verb, who, reason, json.dumps(arguments)
    )
    async with _until_its_end(database, begun):
        yield begun


@asynccontextmanager
async def resumed(database: Inspection, verb: str, id: UUID) -> AsyncIterator[Operation]:
    """Go on with an operation that was begun, with its own arguments. Raises `UnknownOperation`."""
    row = await database.connection.fetchrow(sql.load("operation", __package__), id)
    if row is None or row["verb"] != verb:
        raise UnknownOperation(f"expected the id of a {verb}; there is none with the id {id}")
    begun = Operation(id, json.loads(row["arguments"]), json.loads(row["progress"]))
    await database.connection.execute(sql.load("resume_operation", __package__), id)
    async with _until_its_end(database, begun):
        yield begun


@asynccontextmanager
async def _until_its_end(database: Inspection, begun: Operation) -> AsyncIterator[None]:
    try:
        yield
    except (asyncio.CancelledError, KeyboardInterrupt):
        with suppress(Exception):
            await _end(database, begun, "interrupted")
        raise
    except Exception:
        with suppress(Exception):  # the first failure is the one to report
            await _end(database, begun, "failed")
        raise
    await _end(database, begun, "done")


async def _end(database: Inspection, kept: Operation, outcome: str) -> None:
    query = sql.load("end_operation", __package__)
    await database.connection.execute(query, kept.id, outcome, json.dumps(kept.progress))
