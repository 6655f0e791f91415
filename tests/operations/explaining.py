"""Asking `explain` in this process, and making it hard: days that are dropped, logs that expire."""

import asyncio
import json
from pathlib import Path
from typing import Any

import jwt
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient
from jsonschema import Draft202012Validator

from tests.integration.guards_helpers import changed
from tests.operations.asking import SCHEMAS
from tests.outcomes import GOOD
from tests.workbench import Workbench, make_past_day
from worker.tools.common.address import Address
from worker.tools.common.progress import Progress
from worker.tools.common.selection import place_of
from worker.tools.common.servers import AWAY_SECONDS, both_servers
from worker.tools.explain.explain import explain

SECRETS = ("tp_secret", "tp_live")
TOKEN = jwt.encode({"exp": 1_900_000_000, "sub": "x" * 20}, "k" * 32, "HS256", {"kid": "key-7"})


async def told(
    bench: Workbench, address: Address | str, *, scan: bool = False, patience: float = AWAY_SECONDS, **settings: Any
) -> dict[str, Any]:
    """The report as JSON prints it; it fits its schema and holds no credentials."""
    asked = place_of(address, bench.settings.topic_commands) if isinstance(address, str) else address
    async with both_servers(changed(bench.settings, **settings), patience) as servers:
        report = await explain(servers, asked, Progress(), scan=scan)
    text = report.model_dump_json(by_alias=True)
    assert not [one for one in (*SECRETS, TOKEN, TOKEN.split(".")[1]) if one in text]
    document: dict[str, Any] = json.loads(text)
    Draft202012Validator(json.loads((SCHEMAS / "explain.json").read_text())).validate(document)
    return document


async def answered_by(bench: Workbench, log: Path, count: int, *, start: int = 0, repeated: int = 0) -> None:
    """Commands alternate between both partitions, and are answered; results that are published again are waited for."""
    before = len(await asyncio.to_thread(bench.results))
    bench.publish({**command, "partition": n % 2} for n, command in enumerate(_commands(bench, start, count)))
    worker = bench.start_worker(log)
    await bench.wait_for_results(before + count + repeated)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0


def _commands(bench: Workbench, start: int, count: int) -> list[dict[str, object]]:
    return [bench.command(GOOD, 1, f"u{n}", key=f"k{n}") for n in range(start, start + count)]


async def drop_days(bench: Workbench) -> None:
    """The ledger's rows were written ten days ago, and their day is dropped; today's keys and dead letters go, too."""
    connection = await bench.connect()
    old = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date - 10")
    await make_past_day(connection, "ledger", old)
    await connection.execute("UPDATE ledger SET recorded_on = $1", old)
    await connection.execute("DELETE FROM idempotency_key")
    await connection.execute("SELECT drop_day($1)", old)
    await connection.close()


async def expire_results(bench: Workbench) -> None:
    """All that was published goes, as with the retention of the result topics."""
    client = AdminClient({"bootstrap.servers": bench.settings.kafka_bootstrap_servers})
    places = [Place(topic, partition, -1) for topic in bench.settings.result_topics for partition in (0, 1)]
    await asyncio.to_thread(lambda: [one.result(20) for one in client.delete_records(places).values()])


def codes(report: dict[str, Any]) -> list[str]:
    """Of its problems."""
    return [one["code"] for one in report["problems"]]
