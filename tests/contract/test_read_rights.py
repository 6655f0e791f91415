"""The reader's role may read what `sql/read_grants.sql` lists, which is everything but the hashes of API keys."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.roles import Roles, two_roles
from worker.store import sql
from worker.store.grants import Right, check_rights
from worker.store.sql import Connection
from worker.tools.common.migrating import migrate
from worker.tools.common.rights import READER, check_reader, check_reading, may_change, only_reads
from worker.tools.migrate.grants import grant_rights

Sessions = tuple[Roles, Connection, Connection]
"""The roles, and a connection of the owner and of the reader."""


@pytest_asyncio.fixture(scope="module")
async def sessions(servers: Infrastructure) -> AsyncIterator[Sessions]:
    """A database that its owner has migrated, with the rights of readers given."""
    async with two_roles(servers.database_url) as roles:
        owner = await asyncpg.connect(roles.owner_url)
        reader = await asyncpg.connect(roles.run_url)
        await migrate(owner)
        await grant_rights(owner, roles.run, READER)
        yield roles, owner, reader
        await owner.close()
        await reader.close()


def test_every_line_of_the_grants_is_one_right_to_look() -> None:
    """What is granted is what is asked for, and none of it changes anything."""
    lines = [line for line in sql.load("read_grants").splitlines() if line.startswith("GRANT ")]
    assert len(READER.rights) == len(lines) > 15
    assert {one.privilege for one in READER.rights} == {"USAGE", "SELECT"}


async def test_every_table_and_column_is_listed_but_the_hash(sessions: Sessions) -> None:
    """A table or column that a migration adds is a reader's, too, or this test says so."""
    _, owner, reader = sessions
    hidden = await reader.fetch(
        "SELECT relname || '.' || attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition "
        "AND attnum > 0 AND NOT attisdropped AND NOT has_column_privilege(pg_class.oid, attnum, 'SELECT')"
    )
    assert [name for (name,) in hidden] == ["api_key.sha256"]
    assert await check_reading(owner, [one.object for one in READER.rights]) is None


@pytest.mark.parametrize("right", READER.rights, ids=str)
async def test_a_right_that_is_taken_away_is_named(sessions: Sessions, right: Right) -> None:
    """Each by itself, with the role and what to do; given again, all is well."""
    roles, owner, reader = sessions
    columns = "" if right.columns is None else f" ({right.columns})"
    on = "SCHEMA public" if right.kind == "SCHEMA" else f"TABLE {right.object}"
    from_whom = f"{roles.run}, PUBLIC" if right.kind == "SCHEMA" else roles.run
    await owner.execute(f"REVOKE {right.privilege}{columns} ON {on} FROM {from_whom}")
    assert not await only_reads(reader)
    told = (
        f"The role {roles.run} lacks {right}: run `passport-worker migrate --grant-read-to {roles.run}` as the owner."
    )
    assert str(await check_reading(reader, [right.object])) == told
    if right.kind == "TABLE":
        assert str(await check_reader(reader)) == told, "not the rights of `run`, with which it could write"
        assert not await may_change(reader)
    await grant_rights(owner, roles.run, READER)
    assert await check_reading(reader, [right.object]) is None


async def test_who_only_reads_is_told_from_who_runs(sessions: Sessions) -> None:
    """One right to change something is enough to be no reader; the owner is none."""
    roles, owner, reader = sessions
    assert await only_reads(reader)
    assert await check_rights(reader) is not None
    await owner.execute(f"GRANT DELETE ON daily_writes TO {roles.run}")
    assert not await only_reads(reader)
    assert await may_change(reader)
    await owner.execute(f"REVOKE SELECT ON lane FROM {roles.run}")
    assert await check_reader(reader) is None
    await owner.execute(f"REVOKE DELETE ON daily_writes FROM {roles.run}")
    assert await check_reader(reader) is not None
    await owner.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {roles.run}")
    assert await check_reader(reader) is None, "a role without rights may become any"
    assert not await only_reads(owner)
