"""Statements of the console's pages go by index, as its sessions plan them, over tables that have grown."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.workbench import REPOSITORY
from worker.store import sql
from worker.store.database import Database
from worker.store.partitions import ensure_days
from worker.store.sql import Connection
from worker.tools.common.migrating import migrate
from worker.tools.console.server import ReaderSessions

GROWN = """
INSERT INTO plan VALUES ('p', 100, 75, 200);
INSERT INTO company SELECT lpad(to_hex(n), 24, '0'), 'c', 'p', NULL, '{}' FROM generate_series(1, 5000) n;
INSERT INTO company_usage SELECT number, 90 FROM company;
INSERT INTO daily_writes SELECT number, current_date, 5 FROM company;
INSERT INTO gtin_registration VALUES ('04012345000016', lpad('1', 24, '0'));
INSERT INTO lane (group_id, topic, partition, applied, emitted, ledger_from)
    SELECT 'g', 't', n, 30000, 30000, 0 FROM generate_series(0, 5) n;
INSERT INTO passport_frame VALUES (decode(repeat('00', 16), 'hex'), 'p', 't', 'x');
INSERT INTO passport SELECT now(), decode(lpad(to_hex(n), 24, '0'), 'hex'), n % 5000 + 1, '04012345000016',
    n::text, decode(repeat('00', 16), 'hex') FROM generate_series(1, 180000) n;
INSERT INTO ledger (lane_id, "offset", appended_at, kind, replayed, key, passport_id)
    SELECT lane.id, n, now(), 1, false, 'k',
    decode(lpad(to_hex(n + 1), 24, '0'), 'hex') FROM lane, generate_series(0, 29999) n;
INSERT INTO dead_letter (lane_id, "offset", reason, key, value, header_names, header_values)
    SELECT lane.id, n * 10, 'not-json', '', '', '{}', '{}' FROM lane, generate_series(0, 2999) n;
INSERT INTO idempotency_key SELECT substr(sha256(n::text::bytea), 1, 16), current_date, sha256(''), '', now(),
    n % 5000 + 1 FROM generate_series(1, 60000) n;
INSERT INTO overage_charge SELECT id, company_number, 75, created_at FROM passport LIMIT 60000;
INSERT INTO activity SELECT date_trunc('minute', now()) - n * interval '1 minute', 'g', m::text,
    '{"outcomes": {"created": 1}, "refusals": [["c", "invalid", 1]]}'
    FROM generate_series(0, 1440) n, generate_series(1, 9) m;
INSERT INTO company_day SELECT current_date - d, id, 'g', m::text, 9, 1, now()
    FROM company, generate_series(0, 6) d, generate_series(1, 3) m;
"""
COMPANY = f"'{1:024x}'"
STATEMENTS = {
    "store/lanes": "'g', '{t}'",
    "tools/common/lanes_of_group": "'g'",
    "tools/console/activity_outcomes": "'g', 60",
    "tools/console/activity_refusals": "'g', 60, 200",
    "tools/dead_letters/list_dead_letters": "'g', '{t}', '{}', NULL, NULL, NULL, NULL, NULL, 200",
    "tools/dead_letters/find_dead_letter": "'g', 't', 3, 4710",
    "tools/dead_letters/redrives": "'t', 3, 4710",
    "tools/quota/quotas": f"{COMPANY}, NULL, current_date, NULL, false",
    "tools/common/company_names": f"ARRAY[{COMPANY}]",
    "tools/explain/passport_by_id": COMPANY,
    "tools/explain/passport_by_serial": "'04012345000016', '4711'",
    "tools/explain/key_bindings": "substr(sha256('4711'), 1, 16)",
    "tools/explain/charge": COMPANY,
    "tools/explain/ledger_rows_behind": "'{1,2,3}', '{0,100,20000}', '{30000,30000,30000}'",
    "store/answers": "3, 4711, 4712, 2000, 8000000",
    "store/frames": "ARRAY[decode(repeat('00', 16), 'hex')]",
}
"""The queries of pages on tables that grow, with arguments as pages have them; but for quotas of all companies."""
MAY_BE_SCANNED = {"lane", "plan", "redrive", "operation", "passport_frame"}
"""Small, whatever the number of passports."""


@pytest_asyncio.fixture(scope="module")
async def session(servers: Infrastructure) -> AsyncIterator[Connection]:
    """One of the console's sessions."""
    async with fresh_database(servers.database_url) as url:
        owner = await asyncpg.connect(url)
        await migrate(owner)
        await ensure_days(owner)
        await owner.execute(GROWN)
        await owner.execute("VACUUM ANALYZE")
        await owner.close()
        sessions = ReaderSessions(Database(url))
        async with sessions.inspection() as database:
            yield database.connection
        await sessions.close()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for one in plan.get("Plans", ()):
        yield from _nodes(one)


@pytest.mark.parametrize("name", STATEMENTS)
async def test_no_big_table_is_scanned(session: Connection, name: str) -> None:
    """Nor is much read to be thrown away: what an index gives is wanted."""
    room, _, query = name.rpartition("/")
    await session.execute(f"PREPARE one AS {sql.load(query, 'worker.' + room.replace('/', '.'))}")
    (row,) = await session.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE one ({STATEMENTS[name]})")
    await session.execute("DEALLOCATE one")
    told = json.loads(row[0])[0]
    for node in _nodes(told["Plan"]):
        table = re.sub(r"_\d{8}$", "", node.get("Relation Name", ""))
        if node["Node Type"] in ("Seq Scan", "Bitmap Heap Scan") or "Rows Removed by Filter" in node:
            assert node.get("Rows Removed by Filter", 0) * node["Actual Loops"] < 100 or table in MAY_BE_SCANNED, node
        assert node["Node Type"] != "Seq Scan" or table in MAY_BE_SCANNED or not table, node
    assert told["Execution Time"] < 100, told


async def test_the_console_asks_nothing_that_is_not_looked_at_here() -> None:
    """Queries in the rooms that pages ask; those of one company's keys and of one row aside."""
    small = {"today", "this_minute", "api_key_label", "signing_key_label", "covered_repeats", "open_operations"}
    others = {"begin_redrive", "note_redrive", "answers_under_key"}
    worker = REPOSITORY / "worker"
    modules = [worker / "tools" / "common" / "inspection.py", worker / "store" / "frames.py"]
    for room in ("console", "explain", "dead_letters", "quota"):
        modules += (worker / "tools" / room).glob("*.py")
    asked = set[str]()
    for module in modules:
        asked |= set(re.findall(r'sql\.load\(\s*"(\w+)"', module.read_text(encoding="utf-8")))
    assert len(asked) > 15
    assert asked - small - others <= {name.rpartition("/")[2] for name in STATEMENTS}


async def test_a_session_only_reads_and_not_for_long(session: Connection) -> None:
    """Whatever its role may do."""
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await session.execute("DELETE FROM redrive")
    with pytest.raises(asyncpg.QueryCanceledError):
        await session.execute("SELECT pg_sleep(10)")
