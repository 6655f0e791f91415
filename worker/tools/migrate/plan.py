"""Plans what `migrate` would do."""

from worker.messages.hints import CheckResult
from worker.store import sql
from worker.store.schema import Migration, applied_migrations, known_migrations, pending_migrations
from worker.store.sql import Connection
from worker.tools.common.migration_header import header_of
from worker.tools.common.report import Problem
from worker.tools.common.servers import SCHEMA_DIFFERS
from worker.tools.migrate.report import MigratePlanReport, PlannedMigration

_MILLION = 1_000_000


async def plan(connection: Connection) -> MigratePlanReport:
    """The migrations that the database lacks. Read only."""
    newest: int | None = None
    pending, problems = list(known_migrations()), list[Problem]()
    if await connection.fetchval(sql.load("has_schema_migration")):
        lacking = await pending_migrations(connection)
        if isinstance(lacking, CheckResult):
            pending, problems = [], [Problem(code=SCHEMA_DIFFERS, text=str(lacking))]
        else:
            pending = lacking
        newest = max((row.version for row in await applied_migrations(connection)), default=None)
    planned = tuple([await _planned(connection, migration) for migration in pending])
    return MigratePlanReport(
        problems=tuple(problems),
        database_schema=newest,
        version_schema=known_migrations()[-1].version,
        workers_go_on=newest is not None and all(migration.readable_from <= newest for migration in planned),
        migrations=planned,
    )


def no_plan(problem: Problem) -> MigratePlanReport:
    """The report if the database did not answer."""
    newest = known_migrations()[-1].version
    return MigratePlanReport(
        problems=(problem,), database_schema=None, version_schema=newest, workers_go_on=False, migrations=()
    )


async def _planned(connection: Connection, migration: Migration) -> PlannedMigration:
    header, rows = header_of(migration), None
    if header.table is not None:
        rows = await connection.fetchval(sql.load("rows_of_table", __package__), header.table)
    return PlannedMigration(
        name=migration.name,
        readable_from=header.readable_from,
        locks=header.locks,
        in_transaction=header.in_transaction,
        table=header.table,
        rows=rows,
        seconds_per_million_rows=header.seconds if header.table else None,
        seconds=round(header.seconds * rows / _MILLION, 1) if rows is not None else header.seconds,
    )
