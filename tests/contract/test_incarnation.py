"""Whether the database is still the one that it was."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from tests.contract.world import Lane
from worker.store.database import Database
from worker.store.incarnation import Incarnation
from worker.store.port import ExpectedPosition, StoreUnavailable
from worker.store.postgres import PostgresStore
from worker.store.sql import Connection


async def test_the_same_database_stays_the_same(postgres: PostgresStore) -> None:
    """However often it is asked, on whatever connection, and while it is written to."""
    for _ in range(3):
        await postgres.ping()
        async with postgres.session() as connection:
            await connection.execute("INSERT INTO plan VALUES ('p' || txid_current(), NULL, NULL, NULL)")
    assert postgres.incarnation == 0


@pytest.mark.parametrize(
    ("before", "text"),
    [
        ({"_name": "7000000000000000000/00000001"}, "system and timeline are"),
        ({"_oids": "16384/16399"}, "the oids of the database and of its table of lanes are"),
        ({"_log_end": 2**60}, "its log ends at"),
    ],
)
async def test_another_one_is_told_once(furnished_url: str, before: dict[str, object], text: str) -> None:
    """Another system or timeline, other oids, or a log that ends earlier; then that is the database."""
    connection = await asyncpg.connect(furnished_url)
    one = Incarnation()
    await one.check(connection)
    for name, value in before.items():
        setattr(one, name, value)
    with pytest.raises(StoreUnavailable, match=text):
        await one.check(connection)
    assert one.number == 1
    await one.check(connection)
    assert one.number == 1
    await connection.close()


async def test_answers_that_overtake_each_other_are_of_one_database() -> None:
    """Two sessions ask at once. Seen to fail: the earlier answer, processed last, was taken for another database."""

    class Session:
        def __init__(self, log_end: int) -> None:
            self.log_end, self.answers = log_end, asyncio.Event()

        async def fetchrow(self, _: str) -> tuple[str, str, int]:
            await self.answers.wait()
            return "7000000000000000000/00000001", "1/2", self.log_end

    one = Incarnation()
    earlier, later, restored = Session(120), Session(130), Session(110)
    checks = [asyncio.create_task(one.check(cast(Connection, session))) for session in (earlier, later)]
    for check, session in zip(reversed(checks), (later, earlier), strict=True):
        session.answers.set()
        await check
    assert one.number == 0
    restored.answers.set()
    with pytest.raises(StoreUnavailable, match="its log ends at 110, and ended at 130"):
        await one.check(cast(Connection, restored))


@pytest_asyncio.fixture
async def own_database(database_url: str) -> AsyncIterator[tuple[Connection, str]]:
    """A connection to the server, and the name of a database with a table of lanes that a test may exchange."""
    name = f"exchanged_{uuid4().hex}"
    server = await asyncpg.connect(database_url)
    await server.execute(f"CREATE DATABASE {name}")
    connection = await asyncpg.connect(database_url, database=name)
    await connection.execute("CREATE TABLE lane ()")
    await connection.close()
    yield server, name
    for one in (name, f"{name}_copy", f"{name}_before"):
        await server.execute(f"DROP DATABASE IF EXISTS {one} WITH (FORCE)")
    await server.close()


async def test_a_copy_that_takes_the_name_of_the_database_is_another_one(
    own_database: tuple[Connection, str], database_url: str
) -> None:
    """System, timeline and log are the same. Seen to fail without the oids: lost commits were not looked for."""
    server, name = own_database
    parts = urlsplit(database_url)
    store = PostgresStore(Database(parts._replace(path=f"/{name}").geturl()), 2)
    await store.ping()
    await _end_sessions(server, name)
    await server.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    await server.execute(f"ALTER DATABASE {name} RENAME TO {name}_before")
    await server.execute(f"ALTER DATABASE {name}_copy RENAME TO {name}")
    for _ in range(3):  # the connection has ended, and the next one is with another database
        with suppress(StoreUnavailable):
            await store.ping()
    assert store.incarnation == 1
    await store.ping()
    await store.close()


async def test_a_table_of_lanes_that_was_made_anew_is_another_database(
    own_database: tuple[Connection, str], database_url: str
) -> None:
    """As a restore of single tables does, beneath connections that stay."""
    _, name = own_database
    connection = await asyncpg.connect(database_url, database=name)
    one = Incarnation()
    await one.check(connection)
    await connection.execute("DROP TABLE lane; CREATE TABLE lane ()")
    with pytest.raises(StoreUnavailable, match="of its table of lanes"):
        await one.check(connection)
    await connection.close()


async def test_connections_to_the_database_before_are_not_used_any_more(
    own_database: tuple[Connection, str], database_url: str, tmp_path: Path
) -> None:
    """It may be there still, as an old primary. Seen to fail before: they served on, beside those to the new one."""
    server, name = own_database
    await server.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    parts, file = urlsplit(database_url), tmp_path / "url"
    file.write_text(parts._replace(path=f"/{name}").geturl())
    store = PostgresStore(Database("postgresql://localhost/x", str(file)), 2)
    await store.ping()
    file.write_text(parts._replace(path=f"/{name}_copy").geturl())
    async with store.session():
        with pytest.raises(StoreUnavailable, match="the oids of the database"):
            await store.ping()
    async with store.session() as one, store.session() as other:
        assert {await each.fetchval("SELECT current_database()") for each in (one, other)} == {f"{name}_copy"}
    assert store.incarnation == 1
    await store.close()


async def _end_sessions(server: Connection, name: str) -> None:
    await server.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", name)


async def test_a_turn_of_lanes_that_were_opened_on_another_database_does_not_begin(postgres: PostgresStore) -> None:
    """Its connection is compared, too: another one may have met the new database first."""
    lane = await Lane.open(postgres)
    before = ExpectedPosition(lane.token, 0, 0, postgres.incarnation + 1)
    with pytest.raises(StoreUnavailable, match="another database answers"):
        async with postgres.transaction([before]):
            pytest.fail("a turn on another database")
