"""The stage of demo and sandbox: embedded servers, topics, a catalogue, the real worker."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TypeVar

from rich.console import Console

from worker.settings import PREFIX, Settings
from worker.stream.cluster.connection import Cluster
from worker.tools.catalogue.load import load_catalogue
from worker.tools.common.catalogue.models import Catalogue
from worker.tools.common.connect import connected_to
from worker.tools.common.migrating import migrate
from worker.tools.common.topics import create_topics
from worker.tools.demo.embedded import EmbeddedBroker, EmbeddedPostgres, ServerProcess, free_port
from worker.tools.demo.own_process import WorkerProcess

T = TypeVar("T")

_FOREIGN = (*(f"{PREFIX}{name}_" for name in ("KAFKA", "DATABASE", "HTTP", "OAUTH")), "OTEL_", "PG")
"""Prefixes of variables that lead to other servers: those of this program, OpenTelemetry and PostgreSQL."""

_TOPICS = ("commands", "created", "overage_required", "conflict", "rejected")


def ignore_other_servers(console: Console, verb: str, advice: str = "") -> None:
    """Drop the variables that lead to other servers, and say so. Child processes would inherit them, too."""
    ignored = sorted(name for name in os.environ if name.upper().startswith(_FOREIGN))
    for variable in ignored:
        del os.environ[variable]
    if ignored:
        say(console, f"{', '.join(ignored)}: ignored, since the {verb} starts its own servers.{advice}")


def say(console: Console, *lines: str) -> None:
    """Print lines. A terminal wraps prose between words, but not indented lines, which are commands to copy."""
    for line in lines:
        console.print(line, soft_wrap=line.startswith("  ") or not console.is_terminal)


class Interrupted(Exception):
    """A signal came before everything had started."""


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
    """The running servers. `environment` has the settings that the stage has chosen, by variable."""

    settings: Settings
    worker: WorkerProcess
    servers: tuple[ServerProcess, ...]
    environment: dict[str, str]

    def exports(self, api_key: str | None, channel: str = "") -> Iterator[str]:
        """Shell lines for other programs: servers, also under the names in `schemas/clients`, topics, and API key.

        Programs get the topics of one channel, under the names of the default channel's settings.
        """
        settings = self.settings.of_channel(channel)
        topics = {name: getattr(settings, f"topic_{name}") for name in _TOPICS}
        topics |= {"dead_letters": settings.dead_letter_topic}
        variables = self.environment | {f"{PREFIX}TOPIC_{name.upper()}": topic for name, topic in topics.items()}
        if channel:  # a list of channels would put further prefixes in front of these topics
            variables |= {f"{PREFIX}CHANNELS": "", f"{PREFIX}DEFAULT_CHANNEL": "true"}
        variables |= {"KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers}
        variables |= {f"{PREFIX}API_KEY": api_key} if api_key else {}
        return (f"export {name}={quote(value)}" for name, value in variables.items())


@asynccontextmanager
async def stage(  # noqa: PLR0913 - both verbs give all of them
    given: Settings,
    catalogue: Catalogue,
    folder: Path,
    tell: Telling,
    *,
    embedded: bool = True,
    own_sessions: bool = True,
) -> AsyncIterator[Stage]:
    """Set everything up in a folder, and take down what was started here, whatever happens.

    Unless `embedded`, it uses the servers of the settings. Raises `ServerMissing` before anything has started,
    `ServerFailed`, `CatalogueError` and `Interrupted`.
    """
    async with AsyncExitStack() as stack:
        servers: tuple[ServerProcess, ...] = ()
        changes: dict[str, str] = {}
        if embedded:
            servers = postgres, broker = EmbeddedPostgres(folder), EmbeddedBroker(folder)
            for server in servers:
                server.command()  # raises `ServerMissing`, before any of them is started
                server.own_session = own_sessions
            await start(stack, tell, "PostgreSQL", postgres)
            await start(stack, tell, "the broker", broker)
            changes = {
                "database_url": postgres.url,
                "kafka_bootstrap_servers": broker.bootstrap_servers,
                "kafka_security_protocol": "PLAINTEXT",
                "topic_replication": "1",
            }
        changes["http_port"] = str(free_port())  # another worker may have the default port
        settings = Settings(**{**given.model_dump(exclude_unset=True), **changes})
        await tell("migrating the database, loading the catalogue", _prepare_database(settings, catalogue))
        await tell("creating topics", _create_topics(settings))
        environment = {f"{PREFIX}{key.upper()}": value for key, value in changes.items()}
        served = {"CHANNELS": settings.channels, "DEFAULT_CHANNEL": str(settings.default_channel).lower()}
        worker = WorkerProcess(
            settings, environment | {f"{PREFIX}{name}": value for name, value in served.items()}, folder
        )
        worker.own_session = own_sessions
        await start(stack, tell, "the worker", worker)
        yield Stage(settings, worker, (*servers, worker), environment)


async def start(stack: AsyncExitStack, tell: Telling, name: str, server: ServerProcess) -> None:
    """Start a server, which stops with the stack. Raises `ServerFailed` and `Interrupted`."""
    # Before the start: `tell` raises `Interrupted` after a signal, when the server runs already.
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
    """The system's temporary folder, unless it is in a private home, which must not be opened to others."""
    candidates = [Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")]
    for folder in candidates:
        if os.access(folder, os.W_OK) and all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents)):
            return folder
    return candidates[0]


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
    async with connected_to(settings.database) as connection:
        await migrate(connection)
        await load_catalogue(connection, catalogue)


async def _create_topics(settings: Settings) -> None:
    cluster = Cluster(settings)
    try:
        await create_topics(cluster, settings)
    finally:
        await cluster.close()
