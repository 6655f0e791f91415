"""`python -m tests.benchmark.another_postgres`: how long the scripts take that bring PostgreSQL 15 to the newest.

The database holds a passport and a row of the ledger for each command. No worker runs.
"""

import asyncio
import time
from typing import Annotated

import asyncpg
from cyclopts import App, Parameter

from tests.benchmark.figures import console
from tests.benchmark.migrations import FILL
from tests.infrastructure.another_postgres import copy, newest_beside, old_server, upgrade
from worker.store.partitions import ensure_days
from worker.tools.common.migrating import migrate

app = App(name="python -m tests.benchmark.another_postgres", help="Measure pg_upgrade, and dump and restore.")


@app.default
def another_postgres(*, rows: Annotated[int, Parameter(help="Commands in the database.")] = 1_000_000) -> None:
    """Print the seconds that each script takes as a whole; workers wait for less."""
    for way in ("dump and restore", "pg_upgrade"):
        with old_server("15") as old, newest_beside(old) as new:
            size = asyncio.run(_fill(old.url, rows))
            if way == "dump and restore":
                new.make()
            began = time.monotonic()
            if way == "pg_upgrade":
                upgrade(old, new)
            else:
                copy(old.url.removesuffix("postgres") + "passports", new)
            console.print(f"{way}: {time.monotonic() - began:.1f} s for {rows:,} commands, {size / 2**20:.0f} MB")


async def _fill(server_url: str, rows: int) -> int:
    """A database `passports`; returns its size."""
    server = await asyncpg.connect(server_url)
    await server.execute("CREATE DATABASE passports")
    await server.close()
    connection = await asyncpg.connect(server_url, database="passports")
    await migrate(connection)
    await ensure_days(connection)
    for table in ("passport", "ledger"):
        await connection.execute(FILL[table].replace("ROWS", str(rows)))
    await connection.execute("CHECKPOINT")
    size: int = await connection.fetchval("SELECT pg_database_size('passports')")
    await connection.close()
    return size


if __name__ == "__main__":
    app()
