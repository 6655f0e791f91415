"""The plans of the worker's statements on a database that has just been made, and that keeps them as it fills."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.contract.company_statements import RUNS
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from worker.store import sql
from worker.store.partitions import ensure_days
from worker.store.postgres import SESSION_SETTINGS
from worker.store.sql import Connection
from worker.tools.common.migrating import migrate

_TYPES = "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'planned'"
GROWING = ("passport", "idempotency_key", "ledger", "dead_letter", "gtin_registration", "daily_writes", "company_usage")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(servers: Infrastructure) -> AsyncIterator[Connection]:
    """A session as a worker has it, which keeps the plan that it makes first."""
    async with fresh_database(servers.database_url) as url:
        settings = {**SESSION_SETTINGS, "plan_cache_mode": "force_generic_plan"}
        connection = await asyncpg.connect(url, server_settings=settings)
        await migrate(connection)
        await ensure_days(connection)
        await connection.execute("VACUUM ANALYZE")  # Postgres knows that all are empty, as after a night
        yield connection
        await connection.close()


def _scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Relation Name" in plan and "Scan" in plan["Node Type"]:
        yield plan
    for child in plan.get("Plans", ()):
        yield from _scans(child)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", RUNS["worker.store"])
async def test_no_growing_table_is_read_whole(session: Connection, name: str) -> None:
    """Seen to fail with joins in place of look-ups: until Postgres had new statistics, each turn read all passports."""
    await session.execute(f"PREPARE planned AS {sql.load(name)}")
    try:
        types = await session.fetchval(_TYPES)
        nothing = f"({', '.join(['NULL'] * types)})" if types else ""
        ((text,),) = await session.fetch(f"EXPLAIN (FORMAT JSON) EXECUTE planned{nothing}")
    finally:
        await session.execute("DEALLOCATE planned")
    for scan in _scans(json.loads(text)[0]["Plan"]):
        if scan["Relation Name"].startswith(GROWING):
            assert "Index Cond" in scan or "Recheck Cond" in scan, scan
