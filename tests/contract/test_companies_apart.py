"""No statement that runs for a company returns or changes a row of another one.

Each runs twice with the same arguments: with another company in the database, and without it. Both give the same rows,
and the other company's rows stay. Row-level security would hold this in the database; SECURITY.md says why it is not
used, so this test has to know every statement.
"""

import ast
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest
import pytest_asyncio

from tests.contract.company_statements import FILLED_IN, OF_ALL, RUNS, Run
from tests.contract.two_companies import GROUP, OF_NOBODY, OWNED, SHARED_LANE, THEM, US, add, remove, rows_of
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.workbench import REPOSITORY
from worker.store import sql
from worker.store.partitions import ensure_days
from worker.store.sql import Connection
from worker.tools.common.migrating import migrate

STATEMENTS = {
    (".".join(path.relative_to(REPOSITORY).parts[:-2]), path.stem): path.read_text(encoding="utf-8")
    for path in sorted((REPOSITORY / "worker").rglob("sql/*.sql"))
    if path.stem not in FILLED_IN
}
"""Every statement of the worker and of its verbs, by package and name."""
CASES = [(package, name, run) for package, named in RUNS.items() for name, runs in named.items() for run in runs]
_NO_NAMES = re.compile(r"--[^\n]*|'[^']*'")
"""Comments and texts of a statement."""
_FUNCTIONS = ("make_day", "drop_day", "created_body", "renew_catalogue_version")
_STATEMENT = re.compile(r"\s*(?:WITH|SELECT|INSERT|UPDATE|DELETE|COPY)\s")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connection(servers: Infrastructure) -> AsyncIterator[Connection]:
    """A database with both companies. Each test leaves it as it was."""
    async with fresh_database(servers.database_url) as url:
        connection = await asyncpg.connect(url)
        await migrate(connection)
        await ensure_days(connection)
        await connection.execute(
            "INSERT INTO lane (id, group_id, topic, partition) OVERRIDING SYSTEM VALUE VALUES ($1, $2, 'commands', 0)",
            SHARED_LANE,
            GROUP,
        )
        await connection.execute("SELECT setval(pg_get_serial_sequence('lane', 'id'), 100)")
        for company in (US, THEM):
            await add(connection, company)
        yield connection
        await connection.close()


@asynccontextmanager
async def _undone(connection: Connection) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def _begin(connection: Connection, run: Run) -> None:
    for statement, arguments in run.before:
        await (connection.execute(statement, *arguments) if arguments else connection.execute(statement))


async def _rows(connection: Connection, text: str, run: Run) -> list[tuple[object, ...]]:
    return sorted((tuple(row) for row in await connection.fetch(text, *run.arguments)), key=repr)


async def _crossings(connection: Connection, text: str, run: Run) -> list[str]:
    """How a statement reaches rows of `THEM`, and whether it reaches any of `US` at all."""
    crossings = []
    async with _undone(connection):
        await connection.execute("SET LOCAL session_replication_role = replica")  # the catalogue keeps its version
        await remove(connection, THEM)
        await connection.execute("SET LOCAL session_replication_role = origin")
        await _begin(connection, run)
        alone = await _rows(connection, text, run)
    async with _undone(connection):
        await _begin(connection, run)
        ours, theirs = await rows_of(connection, US), await rows_of(connection, THEM)
        beside = await _rows(connection, text, run)
        if await rows_of(connection, THEM) != theirs:
            crossings.append("changes rows of the other company")
        if not beside and await rows_of(connection, US) == ours:
            crossings.append("neither returns nor changes anything: its arguments prove nothing")
    if run.discloses is None and beside != alone:
        crossings.append(f"returns {beside}, and without the other company {alone}")
    return crossings


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("package", "name", "run"), CASES, ids=[f"{package}-{name}" for package, name, _ in CASES])
async def test_no_row_of_another_company_is_returned_or_changed(
    connection: Connection, package: str, name: str, run: Run
) -> None:
    """Not even where ids of the other company stand among the arguments."""
    assert await _crossings(connection, sql.load(name, package), run) == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("text", "crossing"),
    [
        ("SELECT id FROM product WHERE id = ANY ($1) AND $2 <> ''", "returns"),
        ("SELECT count(*) FROM passport WHERE $1::text[] IS NOT NULL AND $2 <> ''", "returns"),
        ("UPDATE company_usage SET slots_used = 0 WHERE $1::text[] IS NOT NULL AND $2 <> ''", "changes"),
        ("SELECT id FROM product WHERE id = $2 AND name = 'x' AND $1::text[] IS NOT NULL", "proves? neither"),
    ],
)
async def test_a_statement_that_crosses_over_is_seen(connection: Connection, text: str, crossing: str) -> None:
    """The check itself: a product by its id alone, a count of all, a change of all, and one that does nothing."""
    (seen,) = await _crossings(connection, text, Run(([US.id, THEM.id], US.id)))
    assert seen.startswith(crossing.removeprefix("proves? "))


@pytest.mark.asyncio(loop_scope="module")
async def test_every_table_has_an_owner_or_none(connection: Connection) -> None:
    """A table that a migration adds has to say here whose its rows are, and both companies have some in it."""
    tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') "
        "AND NOT relispartition"
    )
    assert sorted(name for (name,) in tables) == sorted([*OWNED, *OF_NOBODY])
    functions = await connection.fetch("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
    assert sorted(name for (name,) in functions) == sorted(_FUNCTIONS)
    for company in (US, THEM):
        assert [table for table, rows in (await rows_of(connection, company)).items() if not rows] == []


def _meets_companies(text: str) -> bool:
    words: Sequence[str] = re.findall(r"\w+", _NO_NAMES.sub("", text))
    return not {*OWNED, *_FUNCTIONS}.isdisjoint(words)


def test_every_statement_is_tried_or_is_for_all() -> None:
    """A new statement that names a table with rows of companies fails here, until it is tried above."""
    meeting = {statement for statement, text in STATEMENTS.items() if _meets_companies(text)}
    tried = {(package, name) for package, named in RUNS.items() for name in named}
    of_all = {(package, name) for package, named in OF_ALL.items() for name in named}
    assert tried.isdisjoint(of_all)
    assert meeting - tried - of_all == set()
    assert (tried | of_all) - meeting == set()


def test_no_statement_hides_in_a_module() -> None:
    """All that names such a table is a file."""
    hidden = [
        f"{path.name}: {node.value}"
        for path in (REPOSITORY / "worker").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _STATEMENT.match(node.value)
        and _meets_companies(node.value)
    ]
    assert hidden == []
