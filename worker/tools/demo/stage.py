"""The stage of demo and sandbox: embedded servers where no others are set, topics, a catalogue, the real worker."""

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TypeVar

from rich.console import Console

from worker.settings import PREFIX, Settings
from worker.stream.cluster.connection import CLUSTER_ERRORS, Cluster
from worker.tools.catalogue.load import load_catalogue
from worker.tools.common.catalogue.models import Catalogue
from worker.tools.common.connect import connect
from worker.tools.common.migrating import migrate
from worker.tools.common.topics import create_topics, delete_topics
from worker.tools.demo.embedded import EmbeddedBroker, EmbeddedPostgres, ServerProcess, free_port
from worker.tools.demo.own_process import WorkerProcess

T = TypeVar("T")

POSTGRES, BROKER = "PostgreSQL", "the broker"
_NOT_NAMES = ("topic_partitions", "topic_replication")
TOPICS = [name for name in Settings.model_fields if name.startswith("topic_") and name not in _NOT_NAMES]


class Interrupted(Exception):
    """A signal came before everything was up."""


class Telling:
    """Prints each step of setting the stage, and how long it took."""

    def __init__(self, console: Console, asked: asyncio.Event | None = None) -> None:
        self._console, self._asked = console, asked

    async def __call__(self, text: str, work: Awaitable[T]) -> T:
        """Print `text`, await the work, and print its duration. Raises `Interrupted` if `asked` is set by then."""
        self._console.print(f"  {text} … ", end="")
        started = time.monotonic()
        try:
            result = await work
        except BaseException:
            self._console.print("failed")
            raise
        self._console.print(f"{time.monotonic() - started:.1f} s")
        if self._asked is not None and self._asked.is_set():
            raise Interrupted
        return result


@dataclass(frozen=True, slots=True)
class Stage:
    """The servers that run now. `environment` holds the settings that the stage has chosen, by variable."""

    settings: Settings
    worker: WorkerProcess
    servers: tuple[ServerProcess, ...]
    environment: dict[str, str]


def exports(environment: Mapping[str, str]) -> Iterator[str]:
    """Shell lines that set these variables."""
    return (f"export {name}={quote(value)}" for name, value in environment.items())


@asynccontextmanager
async def stage(
    given: Settings, catalogue: Catalogue, folder: Path, tell: Telling, *, own_sessions: bool = True
) -> AsyncIterator[Stage]:
    """Set everything up in a folder, and take down what was started here, whatever happens.

    Raises `ServerMissing` before anything has started, `ServerFailed`, `CatalogueError` and `Interrupted`.
    """
    async with AsyncExitStack() as stack:
        servers = _servers_wanted(given, folder)
        changes = _names_of_its_own(given, frozenset(servers))
        for name, server in servers.items():
            server.own_session = own_sessions
            await start(stack, tell, name, server)
            changes.update(_addresses(server))
        asked_for = given.http_port if "http_port" in given.model_fields_set else 0
        changes["http_port"] = str(asked_for or free_port())
        settings = Settings(**{**given.model_dump(exclude_unset=True), **changes})
        await tell("migrating the database, loading the catalogue", _prepare_database(settings, catalogue))
        await tell("creating topics", _create_topics(settings))
        if settings.topic_commands != given.topic_commands:
            stack.push_async_callback(_delete_topics, settings)
        environment = {f"{PREFIX}{key.upper()}": value for key, value in changes.items()}
        worker = WorkerProcess(settings, environment, folder)
        worker.own_session = own_sessions
        await start(stack, tell, "the worker", worker)
        yield Stage(settings, worker, (*servers.values(), worker), environment)


async def start(stack: AsyncExitStack, tell: Telling, name: str, server: ServerProcess) -> None:
    """Start a server, which stops with the stack. Raises `ServerFailed` and `Interrupted`."""
    stack.callback(server.stop)
    await tell(f"starting {name}", _in_thread(server))


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can reach. It is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="passport-demo-", dir=_open_folder()))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open_folder() -> Path:
    """The system's temporary folder, unless it lies in a private home, which we must not open to others."""
    candidates = [Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")]
    return next((folder for folder in candidates if _is_open(folder)), candidates[0])


def _is_open(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def _servers_wanted(given: Settings, folder: Path) -> dict[str, ServerProcess]:
    servers: dict[str, ServerProcess] = {}
    if "database_url" not in given.model_fields_set:
        servers[POSTGRES] = EmbeddedPostgres(folder)
    if "kafka_bootstrap_servers" not in given.model_fields_set:
        servers[BROKER] = EmbeddedBroker(folder)
    for server in servers.values():
        server.command()  # raises `ServerMissing`, before any of them is started
    return servers


def _names_of_its_own(given: Settings, embedded: frozenset[str]) -> dict[str, str]:
    """A group, and perhaps topics, for this run alone, where only one of the servers is embedded.

    A lane's positions live in both servers. An empty database contradicts old offsets of the group, and a new broker
    contradicts positions in an old database. A new group on old topics would answer all old commands again.
    """
    if len(embedded) != 1:
        return {}
    mark = f"demo-{secrets.token_hex(3)}"
    names = {"group_id": f"{given.group_id}-{mark}"}
    if POSTGRES in embedded:
        topics = {name: topic for name in TOPICS if (topic := getattr(given, name))}
        names |= {name: f"{topic}.{mark}" for name, topic in topics.items()}
    return names


def _addresses(server: ServerProcess) -> dict[str, str]:
    """The settings that lead to an embedded server, in place of what was set for another."""
    if isinstance(server, EmbeddedPostgres):
        return {"database_url": server.url}
    assert isinstance(server, EmbeddedBroker)
    return {
        "kafka_bootstrap_servers": server.bootstrap_servers,
        "kafka_security_protocol": "PLAINTEXT",
        "topic_replication": "1",
    }


async def _in_thread(server: ServerProcess) -> None:
    """Start a server in a thread. When cancelled, kill it until its start has failed, so that nothing is left."""
    starting = asyncio.ensure_future(asyncio.to_thread(server.start))
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        while not starting.done():
            server.kill()
            await asyncio.wait({starting}, timeout=0.05)
        starting.exception()  # mark it as retrieved
        raise


async def _prepare_database(settings: Settings, catalogue: Catalogue) -> None:
    connection = await connect(settings.database_url)
    try:
        await migrate(connection)
        await load_catalogue(connection, catalogue)
    finally:
        await connection.close()


async def _create_topics(settings: Settings) -> None:
    cluster = Cluster(settings)
    try:
        await create_topics(cluster, settings)
    finally:
        await cluster.close()


async def _delete_topics(settings: Settings) -> None:
    """Delete the topics that this run has created on somebody's cluster."""
    cluster = Cluster(settings)
    with suppress(*CLUSTER_ERRORS):  # it may be away by now, and the demo has said so
        await delete_topics(cluster, settings.all_topics)
    await cluster.close()
