"""The data inventory has each column of the database: a new one fails here until somebody says what is in it."""

from tests.inventory.data import TABLES
from worker.store.sql import Connection

_COLUMNS = """
SELECT c.relname AS name, array_agg(a.attname::text ORDER BY a.attname) AS columns
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND a.attnum > 0 AND NOT a.attisdropped
 GROUP BY c.relname
"""


async def _stored(connection: Connection) -> dict[str, list[str]]:
    return {row["name"]: sorted(row["columns"]) for row in await connection.fetch(_COLUMNS)}


async def test_each_column_is_described_once(connection: Connection) -> None:
    """In `tests/inventory/data.py`. A column that is gone fails, too."""
    described = {name: sorted([*table.personal, *table.others.split()]) for name, table in TABLES.items()}
    assert await _stored(connection) == described


async def test_a_new_column_is_seen(connection: Connection) -> None:
    """The check itself, with a table and a column that nobody has described."""
    await connection.execute("ALTER TABLE company ADD COLUMN email text; CREATE TABLE contact (name text)")
    stored = await _stored(connection)
    assert "email" in stored["company"]
    assert stored["contact"] == ["name"]
