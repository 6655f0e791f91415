"""Tables can be distributed by company (Citus): every unique key of a company's tables holds the company.

By the database's own catalogue, so that a table or key that is new is looked at, too; `deploy/sizing.md` says the same.
"""

import re

from tests.workbench import REPOSITORY
from worker.store.sql import Connection

BY_COMPANY = {"passport", "overage_charge", "company_usage", "daily_writes", "idempotency_key"}
BY_LANE = {"ledger", "dead_letter"}
CATALOGUE = {"plan", "company", "api_key", "signing_key", "template", "product"}
REFERENCE = {*CATALOGUE, "catalogue_version", "gtin_registration", "passport_frame", "lane"}
LOCAL = {"schema_migration", "operation", "redrive", "activity", "company_day", "oauth_key_set"}
LED_BY_ID = {"passport_id_key": ["id", "company_number"], "idempotency_key_pkey": ["id", "day", "company_number"]}
"""People look for a passport by its id alone; the id of a key is a hash over company and key."""

TABLES = """
SELECT relname FROM pg_class
 WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
"""
UNIQUE_KEYS = """
SELECT i.indrelid::regclass::text AS relation, i.indexrelid::regclass::text AS index,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
          FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum) AS columns
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND i.indisunique
"""
DISTRIBUTION_TYPES = """
SELECT DISTINCT a.atttypid::regtype::text, a.attnotnull FROM pg_attribute a
 WHERE a.attrelid = ANY ($1::text[]::regclass[]) AND a.attname = 'company_number'
"""
FOREIGN_KEYS = """
SELECT conname FROM pg_constraint
 WHERE contype = 'f' AND conrelid = ANY ($1::text[]::regclass[]) AND confrelid <> ALL ($2::text[]::regclass[])
"""


async def test_every_table_is_one_of_four_kinds(connection: Connection) -> None:
    """And the page for operators names each of them as what it is."""
    found = {row["relname"] for row in await connection.fetch(TABLES)}
    kinds = (BY_COMPANY, BY_LANE, REFERENCE, LOCAL)
    assert found == set().union(*kinds)
    assert len(found) == sum(map(len, kinds))
    page = (REPOSITORY / "deploy" / "sizing.md").read_text(encoding="utf-8")
    for kind, names in (
        ("by `company_number`", BY_COMPANY),
        ("by `lane_id`", BY_LANE),
        ("reference", REFERENCE),
        ("local", LOCAL),
    ):
        (row,) = re.findall(rf"^\| {re.escape(kind)} \| (.*?) \|", page, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", row)) == names, kind


async def test_every_unique_key_begins_with_what_its_table_is_distributed_by(connection: Connection) -> None:
    """But for two that hold it behind an id that is found by itself."""
    keys = await connection.fetch(UNIQUE_KEYS)
    assert {row["relation"] for row in keys} >= BY_COMPANY | BY_LANE
    for relation, index, columns in keys:
        if relation in BY_COMPANY and index in LED_BY_ID:
            assert columns == LED_BY_ID[index]
        elif relation in BY_COMPANY | BY_LANE:
            assert columns[0] == ("company_number" if relation in BY_COMPANY else "lane_id"), (index, columns)


async def test_a_companys_tables_lie_together(connection: Connection) -> None:
    """Tables are colocated by a column of one type that is never null, and refer to no table that is elsewhere."""
    assert [*map(tuple, await connection.fetch(DISTRIBUTION_TYPES, [*BY_COMPANY]))] == [("integer", True)]
    assert await connection.fetch(FOREIGN_KEYS, [*BY_COMPANY, *BY_LANE], [*REFERENCE]) == []
