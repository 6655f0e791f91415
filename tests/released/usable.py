"""Whether the statements of a release run on another schema, and answer as on their own."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg

from tests.contract.company_statements import FILLED_IN, Run
from tests.contract.two_companies import GROUP, SHARED_LANE, THEM, US, add
from tests.released import Name, Release
from worker.store.partitions import ensure_days
from worker.store.schema import Migration, known_migrations
from worker.store.sql import Connection

_FILLED = {"schema": "public", "role": "CURRENT_USER", "lanes": "{1}", "companies": "{1}"}
_TEMPORARY = ("worker.tools.lanes", "plan_tables")
_SEVERAL = "cannot insert multiple commands"


async def furnish(connection: Connection, release: Release) -> None:
    """Bring an empty database to the schema of a release, and load two companies."""
    await connection.execute(release.statements["worker.tools.common", "create_schema_migration"])
    for migration in known_migrations()[: release.schema]:
        await connection.execute(migration.text)
    await ensure_days(connection)
    await connection.execute(
        "INSERT INTO lane (id, group_id, topic, partition) OVERRIDING SYSTEM VALUE VALUES ($1, $2, 'commands', 0)",
        SHARED_LANE,
        GROUP,
    )
    for company in (US, THEM):
        await add(connection, company)


@asynccontextmanager
async def undone(connection: Connection) -> AsyncIterator[None]:
    """Leave the database as it was."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


Answers = dict[Name, list[str]]
"""By statement: the types of its arguments and columns, then the rows of each run; or errors."""


async def answers_of(release: Release, connection: Connection, later: Sequence[Migration] = ()) -> Answers:
    """What the statements of a release do, behind later migrations. All is undone."""
    async with undone(connection):
        for migration in later:
            await connection.execute(migration.text.replace(" CONCURRENTLY", ""))  # this is a transaction
        for (sequence,) in await connection.fetch("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S'"):
            await connection.execute(f"ALTER SEQUENCE {sequence} RESTART WITH 1000")  # each time the same ids
        return {name: await _told(release, connection, name, text) for name, text in release.statements.items()}


def differences(before: Answers, after: Answers) -> list[str]:
    """What statements do differently, each with its name."""
    return [
        f"{' '.join(name)}: {now}, and was {was}"
        for name, answers in after.items()
        for was, now in zip(before[name], answers, strict=True)
        if was != now
    ]


async def _told(release: Release, connection: Connection, name: Name, text: str) -> list[str]:
    if name[1] in FILLED_IN:
        return [await _attempt(connection, [(text.format(**_FILLED), ())], None)]
    before = [] if name == _TEMPORARY else [(release.statements[_TEMPORARY], ())]
    told = [await _attempt(connection, before, text)]
    for run in release.runs.get(name, ()):
        own = [one for one in run.before if one[0] != release.statements[_TEMPORARY]]
        told.append(await _attempt(connection, [*before, *own], text, run))
    return told


async def _attempt(
    connection: Connection, before: Iterable[tuple[str, Sequence[object]]], text: str | None, run: Run | None = None
) -> str:
    """The signature of a statement, or the rows of a run, or the error. The database stays as it was."""
    async with undone(connection):
        try:
            for statement, arguments in before:
                await connection.execute(statement, *arguments)
            if text is None:
                return "done"
            return await _signature(connection, text) if run is None else await _rows(connection, text, run)
        except asyncpg.PostgresError as error:
            return f"{type(error).__name__}: {error}"


async def _signature(connection: Connection, text: str) -> str:
    try:
        async with connection.transaction():
            prepared = await connection.prepare(text)
    except asyncpg.PostgresSyntaxError as error:
        if _SEVERAL not in str(error):
            raise
        await connection.execute(text)
        return "done"
    return signature_of(prepared)


def signature_of(prepared: "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]") -> str:
    """The types of its arguments, and names and types of its columns."""
    arguments = ", ".join(kind.name for kind in prepared.get_parameters())
    columns = ", ".join(f"{column.name} {column.type.name}" for column in prepared.get_attributes())
    return f"({arguments}) -> ({columns})"


async def _rows(connection: Connection, text: str, run: Run) -> str:
    rows = await connection.fetch(text, *run.arguments)
    # The times at which rows were written differ.
    return repr(sorted(repr([value for value in row if not isinstance(value, datetime)]) for row in rows))
