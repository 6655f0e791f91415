"""Servers and fresh places on them, shared by all tests that cross a broker or a database."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.infrastructure.bytecode import keep_bytecode
from tests.infrastructure.choose import REQUIRE_REAL_KAFKA, Infrastructure, own_server
from tests.infrastructure.databases import fresh_database
from tests.infrastructure.kafka import LocalKafka
from tests.infrastructure.postgres import local_postgres
from tests.infrastructure.shared import SERVERS, TEMPLATE, Keeper, ask
from tests.infrastructure.sharing import ByFile
from tests.infrastructure.tools import NOT_OURS
from tests.infrastructure.zones import far_zone, live_in
from tests.workbench import Workbench, open_workbench
from worker.tools.demo.embedded import EmbeddedPostgres

live_in(far_zone())
keep_bytecode()

# Hypothesis measures time, and a machine that runs other tests beside them would fail properties that hold.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

_taken: list[str] = []
_numbers = count(1)


_KEEPER = pytest.StashKey[Keeper]()
_KEEPER_ADDRESS = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """The process that somebody starts keeps servers for all among which pytest-xdist shares the tests."""
    if (given := getattr(config, "workerinput", None)) is not None:
        config.stash[_KEEPER_ADDRESS] = given["keeper"]
    else:
        config.stash[_KEEPER] = Keeper()
        config.stash[_KEEPER_ADDRESS] = config.stash[_KEEPER].address


def pytest_configure_node(node: Any) -> None:
    """Tell such a process, before it begins, where to ask for the servers."""
    node.workerinput["keeper"] = node.config.stash[_KEEPER_ADDRESS]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    """By files, unless somebody asks for another way, or for long tests: one of those may take as long as a file."""
    is_by_file = config.option.dist == "worksteal" and config.option.markexpr in ("not long and not repeat", "not slow")
    return ByFile(config, log) if is_by_file else None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers."""
    if _KEEPER in config.stash:
        config.stash[_KEEPER].close()


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Infrastructure:
    """Kafka and Postgres for all tests; started by the first test that asks."""
    servers = Infrastructure.from_json(ask(pytestconfig.stash[_KEEPER_ADDRESS], SERVERS))
    _taken.append(servers.kind)
    return servers


@pytest.fixture(scope="session")
def template(servers: Infrastructure, pytestconfig: pytest.Config) -> str:
    """A database as workbenches need it, to be copied."""
    return str(ask(pytestconfig.stash[_KEEPER_ADDRESS], TEMPLATE))


@pytest.fixture
def kafka_prefix() -> str:
    """A prefix for the topics and groups of one test."""
    return f"t{next(_numbers)}-{uuid4().hex[:6]}"


@pytest.fixture
async def database_url(servers: Infrastructure) -> AsyncIterator[str]:
    """A fresh, empty database on the shared server."""
    async with fresh_database(servers.database_url) as url:
        yield url


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
async def make_bench(servers: Infrastructure, template: str, kafka_prefix: str) -> AsyncIterator[MakeBench]:
    """Makes the test's workbench; worker processes that still run are killed at the end."""
    made: list[Workbench] = []
    async with fresh_database(servers.database_url, template) as url:

        async def make(**options: Any) -> Workbench:
            bench = await open_workbench(servers.bootstrap_servers, url, kafka_prefix, **options)
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


@pytest.fixture(autouse=True)
def _logs_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that a test calls configures the logs of the process. Loggers must not keep that for later tests."""
    configure = structlog.configure

    def configure_until_the_end(**options: Any) -> None:
        configure(**options | {"cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_until_the_end)
    yield
    structlog.reset_defaults()


_QUICK = ("contract", "unit")
"""Folders of tests for the loop at the desk."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """At the desk, do not even load the other folders: browsers, clients and clusters take seconds."""
    is_slow = collection_path.parent == Path(__file__).parent and collection_path.name not in _QUICK
    return True if is_slow and collection_path.is_dir() and config.option.markexpr == "not slow" else None


def pytest_collection_finish() -> None:
    """What is collected stays to the end: the garbage collector need not look through it each time."""
    gc.freeze()


_LONGEST = ("end_to_end", "operations", "integration", "deploy", "monitoring")
"""Folders whose tests take longest, the longest first: what is begun last should be over soon."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All others are slow, and the slowest come first: processes of pytest-xdist take the tests in this order."""
    here = Path(__file__).parent
    folders = {path: path.relative_to(here).parts[0] for path in {item.path for item in items}}

    def folder(item: pytest.Item) -> str:
        return folders[item.path]

    for item in items:
        if folder(item) not in _QUICK or item.get_closest_marker("long") or item.get_closest_marker("repeat"):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: _LONGEST.index(folder(item)) if folder(item) in _LONGEST else len(_LONGEST))


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
