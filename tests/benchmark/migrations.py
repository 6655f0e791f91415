"""`python -m tests.benchmark.migrations`: how long migrations take for a million rows, beside what their headers say.

Each is applied to the schema before it, whose table has been filled. The figures go into the headers by hand.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Annotated

import asyncpg
from cyclopts import App, Parameter
from rich.table import Table

from tests.benchmark.figures import console
from tests.infrastructure.databases import fresh_database
from tests.infrastructure.postgres import local_postgres
from worker.store.partitions import ensure_days
from worker.store.schema import Migration, known_migrations
from worker.tools.common.migration_header import header_of

FILL = {
    "company": """
        INSERT INTO plan (id) VALUES ('plan');
        INSERT INTO company (id, name, plan_id, prefill)
        SELECT lpad(to_hex(n), 24, '0'), 'Company ' || n, 'plan', '{"manufacturerName": "EuroBat GmbH"}'
          FROM generate_series(1, ROWS) n""",
    "passport": """
        INSERT INTO passport (created_at, id, company_number, gtin, serial, frame_id)
        SELECT now() - interval '1 s' * n, substr(sha256(n::text::bytea), 1, 12), n % 100,
               lpad((n % 1000)::text, 14, '0'), 'BP-48V-100-' || n, substr(sha256((n % 100)::text::bytea), 1, 16)
          FROM generate_series(1, ROWS) n""",
    "ledger": """
        INSERT INTO ledger (lane_id, "offset", appended_at, kind, replayed, key, company_id, passport_id)
        SELECT 1, n, now(), 1, false, gen_random_uuid()::text, lpad(to_hex(n % 100), 24, '0'),
               substr(sha256(n::text::bytea), 1, 12)
          FROM generate_series(1, ROWS) n""",
}
"""Statements that fill a table that migrations name, at any schema."""

app = App(name="python -m tests.benchmark.migrations", help="Measure migrations on a PostgreSQL of its own.")


@app.default
def migrations(*, rows: Annotated[int, Parameter(help="Of the table that a migration names.")] = 1_000_000) -> None:
    """Print a table of all migrations."""
    shown = Table(title=f"Migrations, {rows:,} rows")
    for heading in ("migration", "table", "header, s per million", "measured, s", "s per million"):
        shown.add_column(heading, justify="left" if heading in ("migration", "table") else "right")
    with tempfile.TemporaryDirectory(prefix="passport-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run as another user
        postgres = local_postgres(folder)
        postgres.start()
        try:
            for migration in known_migrations():
                header, seconds = header_of(migration), asyncio.run(_measured(postgres.url, migration, rows))
                per_million = f"{seconds * 1e6 / rows:.2f}" if header.table else "-"
                shown.add_row(migration.name, header.table, str(header.seconds), f"{seconds:.3f}", per_million)
        finally:
            postgres.stop()
    console.print(shown)


async def _measured(server_url: str, migration: Migration, rows: int) -> float:
    async with fresh_database(server_url) as url:
        connection = await asyncpg.connect(url)
        for earlier in known_migrations()[: migration.version - 1]:
            await connection.execute(earlier.text)
        if migration.version > 1:
            await ensure_days(connection)
        if (table := header_of(migration).table) is not None:
            await connection.execute(FILL[table].replace("ROWS", str(rows)))
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
        began = time.monotonic()
        await connection.execute(migration.text)
        seconds = time.monotonic() - began
        await connection.close()
    return seconds


if __name__ == "__main__":
    app()
