"""What the runbook tells an engineer to type at night works."""

import re

from tests.monitoring.rules import MONITORING
from tests.workbench import Workbench

RUNBOOK = (MONITORING.parent / "runbook.md").read_text(encoding="utf-8")
QUERIES = [one[1:-1] for one in re.findall(r"""psql \$DATABASE_URL -c ("[^"]*"|'[^']*')""", RUNBOOK)]


async def test_its_queries_run_on_a_database_as_ours(bench: Workbench) -> None:
    """Tables and columns are named as they are."""
    assert len(QUERIES) == 3
    connection = await bench.connect()
    try:
        for query in QUERIES:
            await connection.fetch(query)
    finally:
        await connection.close()
