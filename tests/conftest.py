"""Servers and fresh places on them, shared by all tests that cross a broker or a database."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from tests.infrastructure.choose import REQUIRE_REAL_KAFKA, Infrastructure, infrastructure, own_server
from tests.infrastructure.kafka import LocalKafka
from tests.infrastructure.postgres import local_postgres
from tests.infrastructure.tools import NOT_OURS
from tests.infrastructure.zones import far_zone, live_in
from tests.workbench import Workbench, make_workbench
from worker.tools.demo.embedded import EmbeddedPostgres

live_in(far_zone())

_taken: list[str] = []
_numbers = count(1)


@pytest.fixture(scope="session")
def servers() -> Iterator[Infrastructure]:
    """Kafka and Postgres for the whole session; started by the first test that asks."""
    with infrastructure() as found:
        _taken.append(found.kind)
        yield found


@pytest.fixture
def kafka_prefix() -> str:
    """A prefix for the topics and groups of one test."""
    return f"t{next(_numbers)}-{uuid4().hex[:6]}"


@pytest.fixture
async def database_url(servers: Infrastructure) -> AsyncIterator[str]:
    """A fresh, empty database on the shared server."""
    async with fresh_database(servers.database_url) as url:
        yield url


class fresh_database:
    """An empty database on a server, dropped at the end. Its sessions are in a time zone where it is another day."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._name = f"test_{uuid4().hex[:12]}"

    async def __aenter__(self) -> str:
        await self._execute(
            f"CREATE DATABASE {self._name}", f"ALTER DATABASE {self._name} SET timezone = '{far_zone()}'"
        )
        return urlunsplit(urlsplit(self._server_url)._replace(path=f"/{self._name}"))

    async def __aexit__(self, *_: object) -> None:
        await self._execute(f"DROP DATABASE {self._name} WITH (FORCE)")

    async def _execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(self._server_url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that a test may kill or freeze."""
    with own_server(local_postgres, "a PostgreSQL") as postgres:
        yield postgres


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[LocalKafka]:
    """A real Kafka that a test may kill or freeze."""
    with own_server(LocalKafka, "a real Kafka") as kafka:
        yield kafka


MakeBench = Callable[..., Awaitable[Workbench]]


@pytest.fixture
async def make_bench(servers: Infrastructure, database_url: str, kafka_prefix: str) -> AsyncIterator[MakeBench]:
    """Makes the test's workbench; worker processes that still run are killed at the end."""
    made: list[Workbench] = []

    async def make(**options: object) -> Workbench:
        bench = await make_workbench(servers.bootstrap_servers, database_url, kafka_prefix, **options)  # type: ignore[arg-type]
        made.append(bench)
        return bench

    yield make
    for bench in made:
        await asyncio.to_thread(bench.kill_workers)


@pytest.fixture
async def bench(make_bench: MakeBench) -> Workbench:
    """A workbench of two partitions."""
    return await make_bench()


@pytest.fixture(autouse=True)
def _real_kafka(request: pytest.FixtureRequest) -> None:
    """Skip what needs a real Kafka on a broker that is none."""
    if request.node.get_closest_marker("real_kafka"):
        servers: Infrastructure = request.getfixturevalue("servers")
        if not servers.is_real_kafka:
            pytest.skip("needs a real Kafka, which noida-db is not")


_QUICK = ("contract", "model", "unit")
"""Folders of tests for the loop at the desk."""


_LONGEST = ("operations", "chaos", "end_to_end", "integration")
"""Folders with the longest files: processes that share the tests by file take them first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All others are slow."""

    def folder(item: pytest.Item) -> str:
        return item.path.relative_to(Path(__file__).parent).parts[0]

    for item in items:
        if folder(item) not in _QUICK:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: folder(item) not in _LONGEST)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where a real Kafka is required, a skipped test is a failed run."""
    if output := getattr(session.config, "workeroutput", None):
        output["servers"] = _taken
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and _forbidden_skips(reporter) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_testnodedown(node: object) -> None:
    """One of the processes among which pytest-xdist shares the tests has ended: which servers it took."""
    _taken.extend(getattr(node, "workeroutput", {}).get("servers", ()))


def _forbidden_skips(reporter: pytest.TerminalReporter) -> int:
    """How many tests were skipped although a real Kafka is required: it, or a tool, may not be missing in silence."""
    if os.environ.get(REQUIRE_REAL_KAFKA) != "1":
        return 0
    return sum(NOT_OURS not in str(report.longrepr) for report in reporter.stats.get("skipped", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which servers were taken."""
    terminalreporter.write_line(f"servers: {_taken[0] if _taken else 'none were taken'}")
    if skips := _forbidden_skips(terminalreporter):
        terminalreporter.write_line(f"failed: {REQUIRE_REAL_KAFKA}=1 and {skips} skipped")
