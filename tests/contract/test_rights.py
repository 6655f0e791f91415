"""The role that runs the worker may do what `sql/grants.sql` lists and nothing else, and is told what it lacks."""

from collections.abc import AsyncIterator
from datetime import date, timedelta

import asyncpg
import pytest
import pytest_asyncio

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.roles import Roles, two_roles
from tests.workbench import make_past_day
from worker.store import sql
from worker.store.grants import Right, check_rights
from worker.store.partitions import drop_old_days, ensure_days
from worker.store.schema import check_schema
from worker.store.sql import Connection
from worker.tools.common.journal import Author
from worker.tools.common.migrating import MigrationError, migrate
from worker.tools.common.rights import RUN
from worker.tools.migrate.grants import grant_rights

Sessions = tuple[Roles, Connection, Connection]
"""The roles, and a connection of the owner and of the run role."""


@pytest_asyncio.fixture(scope="module")
async def sessions(servers: Infrastructure) -> AsyncIterator[Sessions]:
    """A database that its owner has migrated, with the rights of `run` given."""
    async with two_roles(servers.database_url) as roles:
        owner = await asyncpg.connect(roles.owner_url)
        run = await asyncpg.connect(roles.run_url)
        await migrate(owner)
        await grant_rights(owner, roles.run, RUN)
        yield roles, owner, run
        await owner.close()
        await run.close()


def test_every_line_of_the_grants_is_one_right() -> None:
    """What is granted is what is asked for at the start: no line escapes the parser."""
    lines = [line for line in sql.load("grants").splitlines() if line.startswith("GRANT ")]
    assert len(RUN.rights) == len(lines) > 30
    assert all(" TO {role}; -- " in line for line in lines)
    assert str(RUN.rights[0]) == "USAGE on the tables' schema"


async def test_the_run_role_has_just_these_rights(sessions: Sessions) -> None:
    """By the catalog: what the role may do to anything in the database is the list, line by line."""
    roles, owner, _ = sessions
    rows = await owner.fetch(
        "SELECT privilege_type, relname AS name, NULL AS attname FROM pg_class, aclexplode(relacl) AS acl "
        "WHERE acl.grantee = $1::regrole UNION ALL "
        "SELECT privilege_type, attrelid::regclass::text, attname FROM pg_attribute, aclexplode(attacl) AS acl "
        "WHERE acl.grantee = $1::regrole UNION ALL "
        "SELECT privilege_type, oid::regprocedure::text, NULL FROM pg_proc, aclexplode(proacl) AS acl "
        "WHERE acl.grantee IN ($1::regrole, 0) AND pronamespace = 'public'::regnamespace",
        f'"{roles.run}"',
    )
    wanted = [one for one in RUN.rights if one.kind != "SCHEMA"]
    assert sorted((privilege, name.replace(",", ", "), column or "") for privilege, name, column in rows) == sorted(
        (one.privilege, one.object, column) for one in wanted for column in (one.columns or "").split(", ")
    )


@pytest.mark.parametrize("right", RUN.rights, ids=str)
async def test_a_right_that_is_taken_away_is_named(sessions: Sessions, right: Right) -> None:
    """Each by itself, with the role and what to do; given again, all is well."""
    roles, owner, run = sessions
    columns = "" if right.columns is None else f" ({right.columns})"
    on = "SCHEMA public" if right.kind == "SCHEMA" else f"{right.kind} {right.object}"
    from_whom = f"{roles.run}, PUBLIC" if right.kind == "SCHEMA" else roles.run
    await owner.execute(f"REVOKE {right.privilege}{columns} ON {on} FROM {from_whom}")
    assert str(await check_rights(run)) == (
        f"The role {roles.run} lacks {right}: run `passport-worker migrate --grant-to {roles.run}` as the owner."
    )
    await grant_rights(owner, roles.run, RUN)
    assert await check_rights(run) is None


async def test_who_gives_rights_is_kept_if_some_were_lacking(sessions: Sessions) -> None:
    """`migrate` runs before each start, and gives nothing then."""
    roles, owner, _ = sessions
    author = Author("Anna", "a new role")
    await grant_rights(owner, roles.run, RUN, author)
    assert await owner.fetch("SELECT FROM operation") == []
    await owner.execute(f"REVOKE SELECT ON TABLE plan FROM {roles.run}")
    await grant_rights(owner, roles.run, RUN, author)
    rows = await owner.fetch("SELECT verb, who, reason, outcome, arguments::text FROM operation")
    arguments = f'{{"rights": "grants", "grantTo": "{roles.run}"}}'
    assert [tuple(row) for row in rows] == [("migrate", "Anna", "a new role", "done", arguments)]
    await owner.execute("DELETE FROM operation")


async def test_one_column_too_few_is_too_few(sessions: Sessions) -> None:
    """A right on columns is there when it is on all of them."""
    roles, owner, run = sessions
    await owner.execute(f"REVOKE UPDATE (epoch) ON TABLE lane FROM {roles.run}")
    assert "lacks UPDATE (epoch, generation" in str(await check_rights(run))
    await grant_rights(owner, roles.run, RUN)


async def test_owner_and_superuser_lack_nothing(sessions: Sessions, servers: Infrastructure) -> None:
    """Who runs everything as one role goes on as before."""
    _, owner, _ = sessions
    assert await check_rights(owner) is None
    assert await check_schema(owner) is None


FORBIDDEN = [
    "CREATE TABLE other (id integer)",
    "CREATE SCHEMA other",
    "CREATE FUNCTION other() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE INDEX ON passport (company_number)",
    "ALTER TABLE lane ADD COLUMN other integer",
    "ALTER TABLE ledger DETACH PARTITION {today}",
    "DROP TABLE {today}",
    "DROP FUNCTION drop_day(date)",
    "TRUNCATE lane",
    "TRUNCATE {today}",
    *(f"INSERT INTO {table} DEFAULT VALUES" for table in ("plan", "company", "api_key", "template", "product")),
    "INSERT INTO company_usage VALUES (1, 0)",
    "INSERT INTO schema_migration VALUES (9, 'x', '')",
    "UPDATE plan SET max_dpps = NULL",
    "UPDATE api_key SET revoked_at = NULL",
    "UPDATE company_usage SET company_number = 1",
    "UPDATE passport SET company_number = 1",
    "UPDATE ledger SET value = ''",
    "UPDATE lane SET topic = 't'",
    "UPDATE overage_charge SET price_cents = 0",
    "DELETE FROM company",
    "DELETE FROM passport",
    "DELETE FROM overage_charge",
    "DELETE FROM ledger",
    "DELETE FROM dead_letter",
    "DELETE FROM idempotency_key",
    "UPDATE idempotency_key SET day = day + 1",
    "DELETE FROM lane",
    "SELECT FROM {today}",
    "SELECT rolpassword FROM pg_authid",
    "SET ROLE postgres",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_run_role_may_not(sessions: Sessions, statement: str) -> None:
    """No DDL, no reference data, no changing of what was created, not even past the function that drops days."""
    _, _, run = sessions
    today = await run.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', '\"ledger_\"YYYYMMDD')")
    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError)):
        await run.execute(statement.format(today=today))


@pytest.mark.parametrize(
    ("call", "days_from_now"),
    [
        *(("drop_day($1)", days) for days in (-2, -1, 0, 1, None)),
        *(("make_day('ledger', $1)", days) for days in (-2, 32, None)),
        *((f"make_day({name}, $1)", 5) for name in ("'plan'", "NULL", "'ledger; DROP TABLE plan'")),
    ],
)
async def test_the_functions_do_only_what_housekeeping_needs(
    sessions: Sessions, call: str, days_from_now: int | None
) -> None:
    """No day that a batch still writes to is dropped, none far ahead is made, and no other table is touched."""
    _, _, run = sessions
    today = await run.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    day = None if days_from_now is None else today + timedelta(days=days_from_now)
    with pytest.raises(asyncpg.RaiseError, match="Expected"):
        await run.execute(f"SELECT {call}", day)


async def test_the_functions_look_for_tables_where_they_were_made(sessions: Sessions) -> None:
    """A caller's tables of the same names, and its search path, lead them nowhere."""
    _, owner, run = sessions
    async with run.transaction():
        await run.execute("CREATE TEMP TABLE ledger (recorded_on date) PARTITION BY RANGE (recorded_on)")
        await run.execute("SET LOCAL search_path = pg_temp, public")
        day = await run.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date + 9")
        await run.execute("SELECT make_day('ledger', $1)", day)
    parent = "SELECT inhparent = 'public.ledger'::regclass FROM pg_inherits WHERE inhrelid = $1::regclass"
    assert await owner.fetchval(parent, f"ledger_{day:%Y%m%d}") is True
    await run.execute("DROP TABLE pg_temp.ledger")


OVERLOADS = (
    ("to_char(date, text)", "text"),
    ("right(name, integer)", "text"),
    ("format(text, text)", "text"),
    ("format(text, text, text, text)", "text"),
)


async def test_the_functions_call_nothing_but_the_catalogs_functions(sessions: Sessions) -> None:
    """Who may make functions beside the tables, as everybody may by default before PostgreSQL 15, gets no further."""
    roles, owner, run = sessions
    await owner.execute(f"GRANT CREATE ON SCHEMA public TO {roles.run}")
    day = await run.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date + 12")
    old = day - timedelta(days=30)
    await make_past_day(owner, "ledger", old)
    try:
        for signature, kind in OVERLOADS:
            body = "BEGIN RAISE EXCEPTION 'called as %', current_user; END"
            await run.execute(f"CREATE FUNCTION {signature} RETURNS {kind} LANGUAGE plpgsql AS $$ {body} $$")
        await run.execute("SELECT make_day('ledger', $1)", day)
        await run.execute("SELECT drop_day($1)", old)
    finally:
        for signature, _ in OVERLOADS:
            await run.execute(f"DROP FUNCTION IF EXISTS public.{signature}")
        await owner.execute(f"REVOKE CREATE ON SCHEMA public FROM {roles.run}")


async def test_a_day_that_is_dropped_past_housekeeping_leaves_no_silent_gap(sessions: Sessions) -> None:
    """The lane's ledger starts behind it, so that the lane halts rather than passing over answers."""
    _, owner, run = sessions
    old: date = await run.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date - 30")
    await make_past_day(owner, "ledger", old)
    async with run.transaction():
        lane = await run.fetchval(
            "INSERT INTO lane (group_id, topic, partition, applied, emitted, ledger_from) "
            "VALUES ('g', 't', 0, 9, 3, 0) RETURNING id"
        )
        await run.execute(
            'INSERT INTO ledger (lane_id, "offset", recorded_on, appended_at, kind, replayed, key, value) '
            "VALUES ($1, 5, $2, now(), 4, false, 'k', '{}')",
            lane,
            old,
        )
        await run.execute("SELECT drop_day($1)", old)
    assert await owner.fetchval("SELECT ledger_from FROM lane WHERE id = $1", lane) == 6


async def test_the_run_role_makes_and_drops_days(sessions: Sessions) -> None:
    """Through the functions, and what it makes is its owner's."""
    roles, owner, run = sessions
    await ensure_days(run, 4)
    today: date = await run.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    made = f"ledger_{today + timedelta(days=4):%Y%m%d}"
    assert await owner.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = $1", made) == roles.owner
    old = today - timedelta(days=30)
    await make_past_day(owner, "ledger", old)
    assert await drop_old_days(run, 7) == [f"ledger_{old:%Y%m%d}"]
    assert await owner.fetchval("SELECT to_regclass($1)", f"ledger_{old:%Y%m%d}") is None


@pytest.mark.parametrize("name", ["no, public", "public", "PUBLIC", ""])
async def test_a_role_that_does_not_exist_is_named(sessions: Sessions, name: str) -> None:
    """And nothing else happens: its name is never taken for SQL, and everybody is no role."""
    _, owner, _ = sessions
    with pytest.raises(MigrationError, match=f'The role "{name}" does not exist'):
        await grant_rights(owner, name, RUN)


async def test_only_the_owner_can_give_rights(sessions: Sessions) -> None:
    """The run role can neither help itself nor others, and the database's mere warning is not taken for success."""
    roles, owner, run = sessions
    await owner.execute(f"REVOKE SELECT ON plan FROM {roles.run}")
    with pytest.raises(MigrationError, match=r"permission denied for table plan: run .* as the owner"):
        await grant_rights(run, roles.run, RUN)
    await grant_rights(owner, roles.run, RUN)
    with pytest.raises(MigrationError, match=r"Could not give pg_monitor .*SELECT on table schema_migration"):
        await grant_rights(run, "pg_monitor", RUN)
