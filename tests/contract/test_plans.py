"""The plans of the worker's statements on a database that has just been made, and that keeps them as it fills."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.contract.company_statements import RUNS
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from worker.domain.catalogue import Product
from worker.domain.outcomes import Created
from worker.domain.seeding import SeededFields
from worker.store import sql
from worker.store.frames import Frame, own_of
from worker.store.partitions import ensure_days
from worker.store.postgres import SESSION_SETTINGS
from worker.store.rows import frame_columns, ledger_columns, passport_columns
from worker.store.sql import Connection
from worker.tools.common.migrating import migrate

_TYPES = "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'planned'"
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


async def _plan(session: Connection, name: str, arguments: Sequence[object] | None, options: str) -> dict[str, Any]:
    """The generic plan of a statement. Without `arguments`, each is null."""
    await session.execute(f"PREPARE planned AS {sql.load(name)}")
    try:
        types = await session.fetchval(_TYPES)
        literals = [
            await session.fetchval(f"SELECT quote_nullable($1::{type}::text)", argument)
            for type, argument in zip(types, arguments or [None] * len(types), strict=True)
        ]
        given = f"({', '.join(literals)})" if literals else ""
        ((text,),) = await session.fetch(f"EXPLAIN ({options}FORMAT JSON) EXECUTE planned{given}")
    finally:
        await session.execute("DEALLOCATE planned")
    plan: dict[str, Any] = json.loads(text)[0]["Plan"]
    return plan


def _scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Relation Name" in plan and "Scan" in plan["Node Type"]:
        yield plan
    for child in plan.get("Plans", ()):
        yield from _scans(child)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", RUNS["worker.store"])
async def test_no_growing_table_is_read_whole(session: Connection, name: str) -> None:
    """Seen to fail with joins in place of look-ups: until Postgres had new statistics, each turn read all passports."""
    for scan in _scans(await _plan(session, name, None, "")):
        if scan["Relation Name"].startswith(GROWING):
            assert {"Index Cond", "Recheck Cond", "TID Cond"} & scan.keys(), scan


_MANY = 200
_COMPANIES = [f"{number:024x}" for number in range(1, _MANY + 1)]
_GTINS = [f"{number:014d}" for number in range(1, _MANY + 1)]


def _record_of_many() -> Sequence[object]:
    product = Product("p", "c", "t", SeededFields(0, 0, "{}"))
    created = [
        Created(company_id, company_id, product, gtin, "1", None, None, 0, 0, "k", bytes(32))
        for company_id, gtin in zip(_COMPANIES, _GTINS, strict=True)
    ]
    numbers = {company_id: int(company_id, 16) for company_id in _COMPANIES}
    passports = passport_columns(created, [(Frame(b"x"), own_of(one)) for one in created], numbers, {})
    return (*passports, *ledger_columns((), ()), [], [], [], *frame_columns(()))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("claim_gtins", (_GTINS, _COMPANIES)),
        ("record", _record_of_many()),
        ("settle_gtins", (_GTINS, _COMPANIES, _COMPANIES[::-1])),
        ("release_gtins", (_GTINS, _COMPANIES)),
        ("lock_companies", (_COMPANIES,)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_companies_are_not_compared_with_each_other(
    session: Connection, name: str, arguments: Sequence[object]
) -> None:
    """Seen to fail: 2,000 companies of a turn made 2 million comparisons, which took half of the turn."""
    transaction = session.transaction()
    await transaction.start()
    try:
        await session.execute("INSERT INTO plan (id) VALUES ('p')")
        await session.execute(
            "INSERT INTO company (id, name, plan_id, number)"
            " SELECT id, '', 'p', number FROM unnest($1::text[]) WITH ORDINALITY AS c (id, number)",
            _COMPANIES,
        )
        await session.execute("INSERT INTO company_usage (company_number) SELECT number FROM company")
        await session.execute(
            "INSERT INTO gtin_registration SELECT * FROM unnest($1::text[], $2::text[])", _GTINS, _COMPANIES
        )
        plan = await _plan(session, name, arguments, "ANALYZE, ")
    finally:
        await transaction.rollback()
    assert sum(_discarded(plan)) <= _MANY


def _discarded(plan: dict[str, Any]) -> Iterator[float]:
    """Rows that each step of a plan made and threw away."""
    for name, count in plan.items():
        if name.startswith("Rows Removed by"):
            yield count * plan["Actual Loops"]
    for child in plan.get("Plans", ()):
        yield from _discarded(child)
