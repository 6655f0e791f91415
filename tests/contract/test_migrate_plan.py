"""`migrate --plan` says what would be done, what it locks, how long it takes, and whether workers can go on."""

import json
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from tests.contract.future import bring, future
from tests.schema_checks import SCHEMAS
from tests.workbench import run_command
from worker.store.partitions import ensure_days
from worker.store.schema import Migration, known_migrations
from worker.store.sql import Connection
from worker.tools.common.migrating import migrate
from worker.tools.common.migration_header import header_of
from worker.tools.migrate.plan import plan

NAMES = [migration.name for migration in known_migrations()]
NEWEST = known_migrations()[-1].version
NEXT = Migration(
    NEWEST + 1,
    "0099_next.sql",
    f"-- readable from: {NEWEST:04}\n-- locks: SHARE on dead_letter\n-- takes: 4.0 s per million rows of dead_letter\n",
)
BEHIND_IT = future(NEWEST + 2, "SELECT 1")
WEAKER = ("AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock")
"""No statement of a worker waits for these."""


@pytest_asyncio.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    """A connection to an empty database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_an_empty_database_needs_everything(connection: Connection) -> None:
    """No worker can run on it yet. Looking changes nothing."""
    report = await plan(connection)
    assert [one.name for one in report.migrations] == NAMES
    assert (report.database_schema, report.version_schema, report.workers_go_on) == (None, NEWEST, False)
    assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0


async def test_a_new_migration_is_told_with_its_locks_and_time(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is that of the rows that the table has, in all its partitions."""
    await migrate(connection)
    await connection.execute(
        'INSERT INTO dead_letter (lane_id, "offset", reason, header_names, header_values) '
        "SELECT 1, n, 'reason', '{}', '{}' FROM generate_series(1, 50000) n"
    )
    await connection.execute("ANALYZE dead_letter")
    bring(monkeypatch, NEXT)
    report = await plan(connection)
    assert report.workers_go_on
    (one,) = report.migrations
    assert one.model_dump() == {
        "name": "0099_next.sql",
        "readable_from": NEWEST,
        "locks": ("SHARE on dead_letter",),
        "in_transaction": True,
        "table": "dead_letter",
        "rows": 50_000,
        "seconds_per_million_rows": 4.0,
        "seconds": 0.2,
    }


async def test_one_migration_that_needs_newer_workers_stops_all(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the one before it does not."""
    await migrate(connection)
    bring(monkeypatch, NEXT, BEHIND_IT)
    report = await plan(connection)
    assert (len(report.migrations), report.workers_go_on) == (2, False)


async def test_a_database_that_does_not_fit_is_a_problem(connection: Connection) -> None:
    """With the sentence that `run` would say."""
    await migrate(connection)
    await connection.execute("UPDATE schema_migration SET sha256 = sha256('other') WHERE version = 1")
    report = await plan(connection)
    assert [(one.code, one.text[:38]) for one in report.problems] == [
        ("schema-differs", "The migration 0001_baseline.sql has ch")
    ]


async def test_the_command_prints_it(database_url: str) -> None:
    """To people and to programs, before and after."""
    own = {"PASSPORT_DATABASE_URL": database_url}
    told = run_command("migrate", "--plan", **own)
    assert told.returncode == 0
    assert told.stdout.splitlines()[0].split() == ["migration", "locks", "transaction", "rows", "takes", "about"]
    assert "ACCESS EXCLUSIVE on company" in told.stdout
    assert told.stdout.splitlines()[-1] == "The database is empty."
    assert run_command("migrate", **own).returncode == 0
    told = run_command("migrate", "--plan", **own)
    assert told.stdout == "Nothing to do: this version can run on the schema.\n"
    report = json.loads(run_command("migrate", "--plan", "--json", **own).stdout)
    Draft202012Validator(json.loads((SCHEMAS / "operations" / "migrate-plan.json").read_text())).validate(report)
    assert (report["ok"], report["migrations"]) == (True, [])
    told = run_command("migrate", "--json", **own)
    assert (told.returncode, told.stderr) == (2, "passport-worker: --json: expected --plan with it\n")


def test_a_server_that_is_away_is_a_problem_of_the_plan() -> None:
    """A program gets its document, as from all verbs that report."""
    told = run_command("migrate", "--plan", "--json", PASSPORT_DATABASE_URL="postgresql://127.0.0.1:1/none")
    report = json.loads(told.stdout)
    Draft202012Validator(json.loads((SCHEMAS / "operations" / "migrate-plan.json").read_text())).validate(report)
    assert (told.returncode, report["ok"], report["problems"][0]["code"]) == (1, False, "postgres-away")


@pytest.mark.parametrize("migration", known_migrations(), ids=lambda migration: migration.name)
async def test_the_header_names_the_locks_that_workers_would_wait_for(
    connection: Connection, migration: Migration
) -> None:
    """All of them, as Postgres has them when the migration has run."""
    header = header_of(migration)
    if not header.in_transaction:  # it takes weaker ones, one after the other
        assert header.locks == ()
        return
    for earlier in known_migrations()[: migration.version - 1]:
        await connection.execute(earlier.text)
    if migration.version > 1:
        await ensure_days(connection)
    before = {row["oid"] for row in await connection.fetch("SELECT oid FROM pg_class WHERE relkind IN ('r', 'p')")}
    async with connection.transaction():
        await connection.execute(migration.text)
        rows = await connection.fetch(
            "SELECT relation, relation::regclass::text AS name, mode FROM pg_locks "
            "WHERE locktype = 'relation' AND pid = pg_backend_pid() AND mode <> ALL ($1) AND relation >= 16384",
            list(WEAKER),
        )
    taken = {f"{_spelled(row['mode'])} on {_of_all_days(row['name'])}" for row in rows if row["relation"] in before}
    assert taken == set(header.locks)


def _spelled(mode: str) -> str:
    """`AccessExclusiveLock` as LOCK TABLE has it."""
    return "".join(f" {letter}" if letter.isupper() else letter for letter in mode.removesuffix("Lock")).strip().upper()


def _of_all_days(table: str) -> str:
    """A header names the table of days, and not each day."""
    return re.sub(r"_\d{8}$", "", table)
