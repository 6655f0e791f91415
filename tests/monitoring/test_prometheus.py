"""A real Prometheus scrapes a real worker: the dashboard has something to show, alerts keep quiet until they must."""

import asyncio
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.infrastructure.tools import tool
from tests.monitoring.panels import expression, expressions
from tests.monitoring.prometheus import Prometheus
from tests.monitoring.queries import filled
from tests.workbench import Workbench, add_tenant, get, tenant, until
from worker.domain.timestamps import format_time
from worker.store.backups import BACKUP_TAKEN
from worker.tools.common.journal import Author, operation
from worker.tools.demo.embedded import HOST, free_port

EMPTY = {expression("Certificates last for")}
"""What has nothing to show on a plaintext connection."""


@pytest.fixture
def port() -> int:
    """Of the worker's `/metrics`."""
    return free_port()


@pytest.fixture
def prometheus(tmp_path: Path, port: int) -> Iterator[Prometheus]:
    """One that scrapes the worker."""
    with Prometheus(tmp_path, [port]) as running:
        yield running


async def _furnish(bench: Workbench) -> None:
    """A plan that sells overage after five passports, and a backup that a job has noted."""
    connection = await bench.connect()
    try:
        await add_tenant(connection, tenant(20), max_dpps=5, overage_price_cents=75)
        async with operation(connection, BACKUP_TAKEN, Author("job", ""), {"takenAt": format_time(datetime.now(UTC))}):
            pass
    finally:
        await connection.close()


def _commands(bench: Workbench, round_: int) -> list[dict[str, object]]:
    """Commands of one round: created, duplicates, and some beyond a quota."""
    asked = [bench.command(tenant(n % 3), n % 3, f"unit-{round_}-{n % 30}", partition=n % 2) for n in range(50)]
    for confirmed in (False, True):
        over = bench.command(tenant(20), 20, f"over-{round_}-{confirmed}", partition=0, confirmOverage=confirmed)
        asked.append(over)
    return asked


async def test_a_healthy_run_fills_the_dashboard_and_sets_off_no_alert(
    bench: Workbench, prometheus: Prometheus, port: int, tmp_path: Path
) -> None:
    """Every panel has data, none of another namespace; then a record that nobody can read is an alert in seconds."""
    await _furnish(bench)
    bench.start_worker(tmp_path / "worker.log", PASSPORT_HTTP_PORT=str(port))
    for round_ in range(10):
        await asyncio.to_thread(bench.publish, _commands(bench, round_))
        await asyncio.sleep(0.8)
    await bench.wait_for_results(520)
    await until(lambda: _scraped(prometheus) == 520, 20, "the last answers are scraped")
    assert prometheus.alerts() == {}
    assert prometheus.rule_problems() == []
    empty = {one for one in expressions() if not prometheus.query(filled(one, "15s"))}
    assert empty == EMPTY
    assert not [one for one in expressions() if prometheus.query(filled(one, "15s", namespace="elsewhere"))]
    await asyncio.to_thread(bench.publish, [{"value": b"no JSON", "headers": [], "partition": 0}])
    await until(lambda: prometheus.alerts() == {"PassportDeadLetters": "firing"}, 20, "an alert on the dead letter")


def _scraped(prometheus: Prometheus) -> float:
    return sum(float(one["value"][1]) for one in prometheus.query("sum(passport_outcomes_total)"))


async def test_prometheus_finds_nothing_to_say_about_the_metrics(bench: Workbench, port: int, tmp_path: Path) -> None:
    """`promtool check metrics` knows the conventions for names, units and help."""
    promtool = tool("promtool")
    bench.start_worker(tmp_path / "worker.log", PASSPORT_HTTP_PORT=str(port))
    url = f"http://{HOST}:{port}"
    await until(lambda: get(f"{url}/readyz")[0] == 200, 30, "ready")
    await asyncio.to_thread(bench.publish, _commands(bench, 0))
    await bench.wait_for_results(52)
    _, text = await asyncio.to_thread(get, f"{url}/metrics")
    assert await asyncio.to_thread(_lint, promtool, text) == (0, "")


def _lint(promtool: str, text: str) -> tuple[int, str]:
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr
