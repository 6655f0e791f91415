"""A vacuum that Postgres began by itself holds its table for hours, and gives way to a migration."""

import asyncio

import asyncpg
import pytest

from tests.contract.future import bring, future
from tests.infrastructure.databases import fresh_database
from worker.store.schema import known_migrations
from worker.store.sql import Connection
from worker.tools.common.migrating import Patience, migrate
from worker.tools.demo.embedded import EmbeddedPostgres

NEXT = known_migrations()[-1].version + 1
COLUMN = future(NEXT, "ALTER TABLE passport ADD COLUMN next_one integer", readable_from=NEXT - 1)
SLOW = "autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100"
_PASSPORTS = """
INSERT INTO passport (created_at, id, company_number, gtin, serial, frame_id)
SELECT now(), decode(lpad(to_hex(n), 24, '0'), 'hex'), 1, '00000000000017', n::text, '' FROM generate_series(1, 20000) n
"""


async def _until_it_vacuums(connection: Connection) -> None:
    vacuums = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'autovacuum: VACUUM%public.passport%'"
    async with asyncio.timeout(60):
        while await connection.fetchval(vacuums) == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_it_ends_for_a_migration(own_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres ends it once somebody has waited for longer than `deadlock_timeout`, one second. A try lasts longer."""
    async with fresh_database(own_postgres.url) as url:
        connection = await asyncpg.connect(url)
        await migrate(connection)
        for setting in ("autovacuum = on", "autovacuum_naptime = '1s'"):
            await connection.execute(f"ALTER SYSTEM SET {setting}")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.execute(f"ALTER TABLE passport SET ({SLOW}, autovacuum_vacuum_cost_limit = 1)")
        await connection.execute(_PASSPORTS)
        await connection.execute("DELETE FROM passport WHERE length(serial) > 3")
        await _until_it_vacuums(connection)
        bring(monkeypatch, COLUMN)
        patience = Patience(tries=5, pause_seconds=0.1)
        assert await asyncio.wait_for(migrate(connection, patience=patience), 30) == [COLUMN.name]
        await connection.close()
