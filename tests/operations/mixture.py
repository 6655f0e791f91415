"""A stream of commands that meets every outcome, and copies of the database that it goes into."""

import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from tests.workbench import Workbench, add_tenant, gtin, tenant
from worker.tools.common.rights import Role
from worker.tools.migrate.grants import grant_rights

LIMITED = {0: (None, None, None), 1: (8, 75, None), 2: (6, None, None), 3: (None, None, 8)}
"""By number of a tenant: slots, price of overage, writes a day."""

_BAD = [b"{", b"[]", b'{"a":1,"a":2}', b"\xff", b"", None]


async def limit_tenants(bench: Workbench) -> None:
    """Some tenants have quotas, so that overage, blocks and spent days come up."""
    connection = await bench.connect()
    for number, limits in LIMITED.items():
        await add_tenant(connection, tenant(number), *limits)
    await connection.close()


def mixture(seed: int, count: int, start: int = 0) -> Iterator[dict[str, object]]:
    """Commands to two partitions, the same for the same seed; every outcome is among some hundreds."""
    chance = random.Random(seed * 1000 + start)
    for number in range(start, start + count):
        yield {**_command(chance, number), "partition": chance.randrange(2)}


def _command(chance: random.Random, number: int) -> dict[str, object]:  # noqa: C901 - one case an outcome
    one, kind = tenant(chance.randrange(5)), chance.randrange(20)
    product = int(one.company_id, 16)
    headers: list[tuple[str, bytes | None]] = [("authorization", one.authorization)]
    if chance.random() < 0.5:
        headers.append(("traceparent", b"00-%032x-%016x-01" % (number + 1, number + 1)))
    if kind == 0:
        return {"value": chance.choice(_BAD), "key": b"bad", "headers": [*headers, ("x", None), ("y", b"\xfe")]}
    if kind == 1:
        headers[0] = ("authorization", b"Bearer tp_nobody")
    body: dict[str, object] = {
        "productId": one.product_id,
        "gs1": {"gtin": gtin(product), "serialNumber": f"s{number}"},
    }
    if kind in (2, 3, 4):  # a key that comes again, with the same body or another
        again = chance.randrange(6)
        headers.append(("idempotency-key", f"again-{again}".encode()))
        body["gs1"] = {"gtin": gtin(product), "serialNumber": f"again-{again}-{chance.randrange(4) // 3}"}
    elif kind < 12:
        headers.append(("idempotency-key", f"key-{number}-ü".encode()))
    if kind == 12:
        body["gs1"] = {"gtin": gtin(product), "serialNumber": f"s{chance.randrange(number + 1)}"}
    elif kind == 13:
        body["gs1"] = {"gtin": gtin((product + 1) % 5), "serialNumber": f"of-another-{number}"}
    elif kind == 14:
        body["gs1"] = {"gtin": "123", "serialNumber": ""}
    elif kind == 15:
        body["productId"] = "f" * 24
    elif kind == 16:
        headers.append(("idempotency-key", b""))
    if chance.random() < 0.5:
        body["confirmOverage"] = True
    return {"value": json.dumps(body).encode(), "headers": headers}


TABLES = {
    "passport": "SELECT * FROM passport ORDER BY id",
    "passport_frame": "SELECT * FROM passport_frame ORDER BY id",
    "overage_charge": "SELECT * FROM overage_charge ORDER BY passport_id",
    "idempotency_key": "SELECT id, fingerprint, passport_id, created_at FROM idempotency_key ORDER BY id, created_at",
    "company_usage": "SELECT * FROM company_usage ORDER BY company_number",
    "daily_writes": "SELECT company_number, day, writes FROM daily_writes ORDER BY company_number, day",
    "gtin_registration": "SELECT * FROM gtin_registration ORDER BY gtin",
    "lane": "SELECT group_id, topic, partition, applied, emitted, ledger_from, cluster_id, topic_id FROM lane "
    "ORDER BY topic, partition",
    "ledger": 'SELECT partition, l."offset", appended_at, kind, replayed, key, company_id, passport_id, traceparent, '
    'tracestate, value FROM ledger l JOIN lane ON lane.id = lane_id ORDER BY topic, partition, l."offset"',
    "dead_letter": 'SELECT partition, d."offset", reason, key, value, header_names, header_values FROM dead_letter d '
    'JOIN lane ON lane.id = lane_id ORDER BY topic, partition, d."offset"',
}
"""All that a recovery has to bring back; without what it may choose: days of rows and keys, epochs."""


async def contents(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every table of a database, but for what a recovery may choose."""
    connection = await asyncpg.connect(url)
    try:
        return {name: [tuple(row) for row in await connection.fetch(query)] for name, query in TABLES.items()}
    finally:
        await connection.close()


async def copy_database(url: str, suffix: str) -> str:
    """A copy of a database on its server, whoever is connected to it; its URL."""
    name = urlsplit(url).path[1:]
    connection = await asyncpg.connect(urlsplit(url)._replace(path="/postgres").geturl())
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name}_{suffix} WITH (FORCE)")
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
            name,
        )
        await connection.execute(f"CREATE DATABASE {name}_{suffix} TEMPLATE {name}")
    finally:
        await connection.close()
    return urlsplit(url)._replace(path=f"/{name}_{suffix}").geturl()


async def drop_database(url: str) -> None:
    """Whoever is connected to it."""
    connection = await asyncpg.connect(urlsplit(url)._replace(path="/postgres").geturl())
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {urlsplit(url).path[1:]} WITH (FORCE)")
    finally:
        await connection.close()


@asynccontextmanager
async def as_role(url: str, kind: Role) -> AsyncIterator[str]:
    """The URL of the same database for a role that has the rights of the workers, or of readers."""
    name, parts = f"role_{uuid4().hex[:8]}", urlsplit(url)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'of-a-test'")
        await grant_rights(connection, name, kind)
        yield parts._replace(netloc=f"{name}:of-a-test@{parts.netloc.rpartition('@')[2]}").geturl()
        await connection.execute(f"DROP OWNED BY {name}")
        await connection.execute(f"DROP ROLE {name}")
    finally:
        await connection.close()
