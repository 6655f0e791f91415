"""What demo and sandbox run on: embedded servers where none are named, topics, a catalogue, the real worker."""

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
from worker.stream.cluster.topic_settings import wanted_topics
from worker.stream.cluster.topics import create_topics
from worker.tools.catalogue.load import load_catalogue
from worker.tools.common.catalogue.models import Catalogue
from worker.tools.common.connect import connect
from worker.tools.common.migrating import migrate
from worker.tools.demo.embedded import EmbeddedBroker, EmbeddedPostgres, ServerProcess, free_port
from worker.tools.demo.own_process import WorkerProcess

T = TypeVar("T")

POSTGRES, BROKER = "PostgreSQL", "the broker"
_NOT_NAMES = ("topic_partitions", "topic_replication")
TOPICS = [name for name in Settings.model_fields if name.startswith("topic_") and name not in _NOT_NAMES]


class Interrupted(Exception):
    """Somebody asked to end it before all was up."""


class Telling:
    """Tells step by step how the stage comes up, in plain lines."""

    def __init__(self, console: Console, asked: asyncio.Event | None = None) -> None:
        self._console, self._asked = console, asked

    async def __call__(self, text: str, work: Awaitable[T]) -> T:
        """Say `text`, await the work, say how long it took. Raises `Interrupted` where `asked` is set by then."""
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
    """What runs now, and at which addresses; `environment` are the settings that are the stage's own, by variable."""

    settings: Settings
    worker: WorkerProcess
    servers: tuple[ServerProcess, ...]
    environment: dict[str, str]


def exports(environment: Mapping[str, str]) -> Iterator[str]:
    """Variables as lines of a shell."""
    return (f"export {name}={quote(value)}" for name, value in environment.items())


@asynccontextmanager
async def stage(
    given: Settings, catalogue: Catalogue, folder: Path, tell: Telling, *, own_sessions: bool = True
) -> AsyncIterator[Stage]:
    """Set everything up in a folder, and take down what is ours, whatever happens; see `ServerProcess.own_session`.

    Raises `ServerMissing` before anything has started, `ServerFailed`, `CatalogueError`, and what `Telling` says.
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
    """Start a server, which is stopped with the stack, and say so. Raises `ServerFailed`, and what `Telling` says."""
    stack.callback(server.stop)
    await tell(f"starting {name}", _in_thread(server))


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can reach, and that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="passport-demo-", dir=_open_folder()))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open_folder() -> Path:
    """The temporary folder of the system, unless it lies in a private home, which must not be opened to others."""
    candidates = [Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")]
    return next((one for one in candidates if _is_open(one)), candidates[0])


def _is_open(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and all(one.stat().st_mode & 0o001 for one in (folder, *folder.parents))


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
    """Group and topics of this run alone, where one server is new and the other is not.

    A lane's positions live in both: the group's old offsets and an empty database would contradict each other, and so
    would a new broker and the positions in an old database. A new group would answer all old commands once more.
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
    """The settings that lead to a server of ours, over whatever was set for another."""
    if isinstance(server, EmbeddedPostgres):
        return {"database_url": server.url}
    assert isinstance(server, EmbeddedBroker)
    return {
        "kafka_bootstrap_servers": server.bootstrap_servers,
        "kafka_security_protocol": "PLAINTEXT",
        "topic_replication": "1",
    }


async def _in_thread(server: ServerProcess) -> None:
    """Start a server. When cancelled, end it and wait until its start has failed: only then is nothing left of it."""
    starting = asyncio.ensure_future(asyncio.to_thread(server.start))
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        while not starting.done():
            server.kill()
            await asyncio.wait({starting}, timeout=0.05)
        starting.exception()  # it has been read
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
    """Ours alone, on a cluster that is not: leave nothing behind."""
    cluster = Cluster(settings)
    with suppress(*CLUSTER_ERRORS):  # it may be away by now, which has been said
        admin = await cluster.admin()
        await admin.delete_topics([one.name for one in wanted_topics(settings)])
    await cluster.close()
