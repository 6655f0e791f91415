"""`passport-worker migrate`."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated

import asyncpg
from cyclopts import App, Parameter
from cyclopts.validators import Number

from worker.settings import Settings
from worker.store.errors import SHARED_SESSION, SHARED_STATEMENTS
from worker.store.pooling import check_session
from worker.store.schema import applied_migrations, known_migrations
from worker.store.sql import Connection
from worker.tools.cli.asking import AuthorOptions, examples
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.output import AsJson, Page, Table, show
from worker.tools.cli.running import run_async, settings_with_warnings, warn
from worker.tools.common.connect import OWNER_ADVICE, CannotConnect, connected_to
from worker.tools.common.migrating import Patience, migrate
from worker.tools.common.report import Problem
from worker.tools.common.rights import READER, RUN
from worker.tools.common.servers import POSTGRES_AWAY, POSTGRES_DENIES, Known
from worker.tools.migrate.grants import grant_rights
from worker.tools.migrate.plan import no_plan, plan
from worker.tools.migrate.report import MigratePlanReport

app = App(
    name="migrate",
    help_epilogue=examples("migrate --plan", "migrate --grant-to passport_worker"),
)
_POOLERS = "Let `migrate` connect to PostgreSQL directly, or to a pool of sessions: see PgBouncer in deploy/move.md."


@app.default
def migrate_command(
    *,
    plan_only: Annotated[
        bool, Parameter(name="--plan", help="Only print what would be done, what it locks, and how long it takes.")
    ] = False,
    as_json: AsJson = False,
    tries: Annotated[
        int,
        Parameter(help="Tries of a migration to get its locks, 1.2 s each; 3 s in between.", validator=Number(gte=1)),
    ] = Patience().tries,
    grant_to: Annotated[str | None, Parameter(help="Grant this role the rights that `run` needs.")] = None,
    grant_read_to: Annotated[
        str | None, Parameter(help="Grant this role the rights to read everything except hashes of API keys.")
    ] = None,
    acting: AuthorOptions = AuthorOptions(),
) -> None:
    """Bring the database to this version's schema. Safe to repeat, and to start several times at once.

    Workers may run meanwhile. Each migration says which older workers can run on its schema; --plan shows it.
    """
    if as_json and not plan_only:
        raise BadUsage("--json: expected --plan with it")
    settings = settings_with_warnings()
    if plan_only:
        report = _planned(settings)
        show(report, as_json=as_json, draw=_draw, last=_sum(report))
    author = acting.author()

    async def bring_up(connection: Connection) -> None:
        await _refuse_shared_sessions(connection, settings)
        applied = await migrate(connection, author, Patience(tries), warn, _name_applied)
        wanted = ((RUN, grant_to), (READER, grant_read_to))
        roles = [(kind, role) for kind, role in wanted if role is not None]
        for kind, role in roles:
            await grant_rights(connection, role, kind, author)
        newest = (await applied_migrations(connection))[-1].name
        is_ours = newest == known_migrations()[-1].name
        present = (
            "the schema is up to date" if is_ours else f"the schema is newer ({newest}); this version can run on it"
        )
        if not applied:
            print(present)
        for kind, role in roles:
            print(f"{role} may do what {'`run` does' if kind is RUN else 'changes nothing'}")

    try:
        _with_connection(settings, bring_up)
    except asyncpg.InsufficientPrivilegeError as error:
        raise Failed(f"{error}: {OWNER_ADVICE}.") from error


async def _refuse_shared_sessions(connection: Connection, settings: Settings) -> None:
    """Raise `Failed` if a pooler pools transactions: others would then get what a session has prepared or locked."""
    async with connected_to(settings.database) as other:
        shared = await check_session(connection, other, {})
    if shared is not None:
        raise Failed(f"{shared.finding}. {_POOLERS}")


def _name_applied(name: str) -> None:
    # At once, since a later migration may fail. A full or closed output must not end the run between two migrations.
    # It fails again when the command flushes it at the end.
    with suppress(OSError):
        print(f"applied {name}", flush=True)


def _planned(settings: Settings) -> MigratePlanReport:
    try:
        return _with_connection(settings, plan)
    except CannotConnect as error:
        return no_plan(Problem(code=POSTGRES_AWAY, text=str(error)))
    except asyncpg.InsufficientPrivilegeError as error:
        return no_plan(Problem(code=POSTGRES_DENIES, text=f"{error}: {OWNER_ADVICE}."))
    except SHARED_STATEMENTS:
        return no_plan(Problem(code=POSTGRES_AWAY, text=f"{SHARED_SESSION}. {_POOLERS}"))


def _with_connection(settings: Settings, work: Callable[[Connection], Awaitable[Known]]) -> Known:
    async def connected() -> Known:
        async with connected_to(settings.database) as connection:
            return await work(connection)

    return run_async(connected)


def _draw(page: Page, report: MigratePlanReport) -> None:
    columns = ("migration", "locks", "transaction", "rows", "takes about")
    rows = [
        (
            migration.name,
            ", ".join(migration.locks) or "nothing",
            "yes" if migration.in_transaction else "no",
            None if migration.table is None else f"{migration.rows:,} of {migration.table}",
            f"{migration.seconds:,.1f} s",
        )
        for migration in report.migrations
    ]
    page.print(Table(columns, rows, right=("rows", "takes about"), wraps=("locks",), spare=("transaction", "rows")))


def _sum(report: MigratePlanReport) -> str | None:
    if not report.ok:
        return None
    if not report.migrations:
        return "Nothing to do: this version can run on the schema."
    if report.database_schema is None:
        return "The database is empty."
    if report.workers_go_on:
        return f"Workers of schema {report.database_schema:04} can run on the new schema: let them run."
    return f"Workers of schema {report.database_schema:04} cannot run on the new schema: stop all of them first."
