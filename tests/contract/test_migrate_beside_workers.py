"""A migration runs beside workers: it never holds them up for long, and a killed one is finished by the next."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
import pytest_asyncio

from tests.contract.future import bring, future
from tests.contract.world import OPEN, Lane, ask, furnish, until_waiting
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.postgres import end_sessions
from tests.infrastructure.roles import two_roles
from worker.store.database import Database
from worker.store.port import StoreUnavailable
from worker.store.postgres import PostgresStore
from worker.store.schema import Migration, check_schema, known_migrations
from worker.store.sql import Connection
from worker.tools.common import migrating
from worker.tools.common.migrating import MigrationError, Patience, migrate
from worker.tools.common.rights import RUN
from worker.tools.migrate.grants import grant_rights

NEXT = known_migrations()[-1].version + 1
_COLUMN = "ALTER TABLE company ADD COLUMN next_one integer"
_INDEX = "CREATE INDEX CONCURRENTLY IF NOT EXISTS next_index ON passport (frame_id)"
COLUMN = future(NEXT, _COLUMN, readable_from=NEXT - 1)
INDEX = future(NEXT, _INDEX, readable_from=NEXT - 1, transaction=False)
NEWER_ONLY = [future(NEXT, _COLUMN), future(NEXT, _INDEX, transaction=False)]
SHORT = Patience(tries=3, lock_seconds=0.2, pause_seconds=0.05)


@pytest_asyncio.fixture
async def url(database_url: str) -> str:
    """A migrated database with the catalogue."""
    await furnish(database_url)
    return database_url


@pytest_asyncio.fixture
async def connection(url: str) -> AsyncIterator[Connection]:
    """The connection that migrates."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@asynccontextmanager
async def _holding(url: str, statement: str) -> AsyncIterator[Connection]:
    """A session of somebody who keeps a transaction open, as a backup does."""
    other = await asyncpg.connect(url)
    try:
        async with other.transaction():
            await other.execute(statement)
            yield other
    finally:
        await other.close()


async def test_workers_go_on_while_a_migration_waits_for_a_lock(
    url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads `company` in a long transaction. The migration waits for that, and workers hardly for it."""
    bring(monkeypatch, COLUMN)
    store = PostgresStore(Database(url), 2)
    lane = await Lane.open(store)
    turns: list[float] = []

    async def work() -> None:
        number = 0
        while True:
            number, began = number + 1, time.monotonic()
            assert await lane.verdicts(ask(OPEN, serial=f"s{number}")) == ["created"]
            turns.append(time.monotonic() - began)
            await asyncio.sleep(0)

    working = asyncio.create_task(work())
    waits: list[str] = []
    patience = Patience(tries=100, lock_seconds=0.2, pause_seconds=0.2)
    async with _holding(url, "LOCK TABLE company IN ACCESS SHARE MODE"):
        migrating = asyncio.create_task(migrate(connection, patience=patience, say=waits.append))
        async with asyncio.timeout(20):
            while len(waits) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not migrating.done()
        assert len(turns) > 5
    assert await asyncio.wait_for(migrating, 5) == [COLUMN.name]
    done = len(turns)
    while len(turns) < done + 3:
        await asyncio.sleep(0.01)
        assert not working.done()
    working.cancel()
    await asyncio.wait([working])
    await store.close()
    assert max(turns) < 2.0
    assert waits[0] == "others hold locks that the migration needs; 99 more tries, the next in 0.2 s"


async def test_a_migration_that_gets_no_lock_says_so_and_leaves_nothing(
    url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run again when the lock is free, it goes through."""
    bring(monkeypatch, COLUMN)
    async with _holding(url, "LOCK TABLE company IN ACCESS SHARE MODE"):
        with pytest.raises(MigrationError, match=r"did not get its locks in 3 tries: .* Run `passport-worker doctor`"):
            await migrate(connection, patience=SHORT)
    assert "older than this version" in str(await check_schema(connection))
    assert await migrate(connection, patience=SHORT) == [COLUMN.name]


async def test_a_migration_whose_process_falls_silent_gives_its_locks_back(
    url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is frozen, or its machine is gone, before it commits. No worker may wait until somebody notices."""
    bring(monkeypatch, COLUMN)
    silent = asyncio.Event()

    async def fall_silent(*_: object) -> None:
        silent.set()
        await asyncio.Event().wait()

    store = PostgresStore(Database(url), 2)
    lane = await Lane.open(store)
    with monkeypatch.context() as frozen:
        frozen.setattr(migrating, "_record", fall_silent)
        task = asyncio.create_task(migrate(connection, patience=Patience(silent_seconds=0.5)))
        await silent.wait()
        assert await asyncio.wait_for(lane.verdicts(ask(OPEN)), 5) == ["created"]
        task.cancel()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await task
    await store.close()
    another = await asyncpg.connect(url)
    assert await migrate(another) == [COLUMN.name]
    await another.close()


@pytest.mark.parametrize("change", NEWER_ONLY, ids=["in a transaction", "outside of one"])
async def test_a_migration_waits_for_the_end_of_workers_that_cannot_run_on_its_schema(
    servers: Infrastructure, monkeypatch: pytest.MonkeyPatch, change: Migration
) -> None:
    """They would go on, and answer by the rules of before. The owner of the tables sees them, under another role."""
    async with two_roles(servers.database_url) as roles:
        await furnish(roles.owner_url)
        owner = await asyncpg.connect(roles.owner_url)
        await grant_rights(owner, roles.run, RUN)
        store = PostgresStore(Database(roles.run_url), 2)
        lane = await Lane.open(store)
        bring(monkeypatch, change)
        why = f"{change.name} needs workers of schema {NEXT:04} or newer, and some of {NEXT - 1:04} are connected"
        with pytest.raises(
            MigrationError, match=f"^The migration was not applied in 3 tries: {why}. Stop these workers"
        ):
            await migrate(owner, patience=SHORT)
        assert await lane.verdicts(ask(OPEN)) == ["created"]
        waits: list[str] = []
        migrating = asyncio.create_task(migrate(owner, patience=Patience(100, 0.2, 0.05), say=waits.append))
        async with asyncio.timeout(20):
            while not waits:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert waits[0] == f"{why}; 99 more tries, the next in 0.05 s"
        await store.close()
        assert await asyncio.wait_for(migrating, 10) == [change.name]
        await owner.close()


@pytest.mark.parametrize(
    ("change", "lock"),
    [
        (NEWER_ONLY[0], "LOCK TABLE company IN ACCESS SHARE MODE"),
        (NEWER_ONLY[1], "LOCK TABLE passport IN ROW EXCLUSIVE MODE"),
    ],
    ids=["in a transaction", "outside of one"],
)
async def test_workers_that_start_while_a_migration_runs_count_too(
    url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch, change: Migration, lock: str
) -> None:
    """They saw the schema of before, and would go on. An index of a large table takes an hour."""
    bring(monkeypatch, change)
    waits: list[str] = []
    store = PostgresStore(Database(url), 2)
    async with _holding(url, lock) as other:
        task = asyncio.create_task(migrate(connection, patience=Patience(100, 10.0, 0.05), say=waits.append))
        await until_waiting(other)
        await store.ping()
    async with asyncio.timeout(20):
        while not waits:
            assert not task.done(), "it was applied"
            await asyncio.sleep(0.01)
    assert f"some of {NEXT - 1:04} are connected" in waits[0]
    await store.close()
    assert await asyncio.wait_for(task, 10) == [change.name]


async def test_a_worker_that_connects_again_looks_whether_it_can_run_on_the_schema(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration cannot see a worker that is not connected, as while Postgres restarts."""
    store = PostgresStore(Database(url), 2)
    lane = await Lane.open(store)
    with monkeypatch.context() as newer:
        bring(newer, NEWER_ONLY[0])
        await end_sessions(url)
        connection = await asyncpg.connect(url)
        assert await migrate(connection, patience=SHORT) == [NEWER_ONLY[0].name]
        await connection.close()
    told = ""
    while f"needs workers of schema {NEXT:04} or newer" not in told:  # sessions that have ended may come first
        with pytest.raises(StoreUnavailable) as caught:
            await lane.verdicts(ask(OPEN))
        told = str(caught.value)
    await store.close()


async def test_newer_workers_hold_no_migration_up(
    url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do those of its own schema, which wait for it, nor operators' tools and other programs."""
    names = [f"passport-worker {NEXT:04}", f"passport-worker {NEXT + 1:04}", "passport-worker operator", "psql 0001"]
    connected = [await asyncpg.connect(url, server_settings={"application_name": name}) for name in names]
    bring(monkeypatch, NEWER_ONLY[0])
    assert await migrate(connection, patience=Patience(tries=1)) == [NEWER_ONLY[0].name]
    await asyncio.gather(*(one.close() for one in connected))


async def test_an_index_is_made_while_workers_write(
    url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of a transaction. It waits for writers as long as it takes, and no worker waits for it."""
    bring(monkeypatch, INDEX)
    store = PostgresStore(Database(url), 2)
    lane = await Lane.open(store)
    async with _holding(url, "LOCK TABLE passport IN ROW EXCLUSIVE MODE") as other:
        migrating = asyncio.create_task(migrate(connection, patience=SHORT))
        await until_waiting(other)
        await asyncio.wait_for(lane.verdicts(ask(OPEN)), 10)
    assert await asyncio.wait_for(migrating, 10) == [INDEX.name]
    await store.close()
    assert await check_schema(connection) is None
    assert await _is_valid(connection)


async def test_a_killed_migration_outside_a_transaction_is_finished_by_the_next(
    url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It left an invalid index, which the next one drops and makes again."""
    bring(monkeypatch, INDEX)
    first = await asyncpg.connect(url)
    async with _holding(url, "LOCK TABLE passport IN ROW EXCLUSIVE MODE"):
        killed = asyncio.create_task(migrate(first))
        await connection.execute("SELECT pg_terminate_backend($1)", await until_waiting(connection))
        with pytest.raises((asyncpg.AdminShutdownError, asyncpg.ConnectionDoesNotExistError)):
            await killed
    assert not await _is_valid(connection)
    assert "older than this version" in str(await check_schema(connection))
    assert await migrate(connection) == [INDEX.name]
    assert await _is_valid(connection)


async def test_a_migration_outside_a_transaction_that_was_not_recorded_is(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died after the index, and before the row of the migration."""
    bring(monkeypatch, INDEX)
    await connection.execute("CREATE INDEX next_index ON passport (frame_id)")
    before = await connection.fetchval("SELECT 'next_index'::regclass::oid")
    assert await migrate(connection) == [INDEX.name]
    assert await connection.fetchval("SELECT 'next_index'::regclass::oid") == before


async def test_many_may_start_at_once_outside_a_transaction(
    url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who come second do not wait in Postgres, where the index would wait for them: a deadlock is no way."""
    bring(monkeypatch, INDEX)
    first, *others = connections = [await asyncpg.connect(url) for _ in range(4)]
    async with _holding(url, "LOCK TABLE passport IN ROW EXCLUSIVE MODE"):
        migrating = [asyncio.create_task(migrate(first, patience=Patience(tries=1)))]
        await until_waiting(connection)
        migrating += [asyncio.create_task(migrate(one, patience=Patience(tries=1))) for one in others]
        await asyncio.sleep(0.3)  # each has asked for the lock by then
    applied = await asyncio.wait_for(asyncio.gather(*migrating), 20)
    assert [name for names in applied for name in names] == [INDEX.name]
    assert await _is_valid(first)
    await asyncio.gather(*(one.close() for one in connections))


async def _is_valid(connection: Connection) -> bool:
    valid: bool = await connection.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'next_index'::regclass")
    return valid
