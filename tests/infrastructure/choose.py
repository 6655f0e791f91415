"""Which servers the tests run on: the first of four ways that works, and it always says which."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest

from tests.infrastructure.kafka import KAFKA_VERSION, SINGLE_BROKER, LocalKafka
from tests.infrastructure.postgres import POSTGRES_VERSION, local_postgres, version_of
from tests.infrastructure.shared import SESSION
from worker.tools.demo.embedded import (
    EmbeddedBroker,
    ServerFailed,
    ServerMissing,
    free_port,
)

KAFKA_IMAGE = f"apache/kafka:{KAFKA_VERSION}"
POSTGRES_IMAGE = f"postgres:{POSTGRES_VERSION or '18.6-trixie'}"
PROXIES = 8
"""Listeners of the shared broker: as many processes may stand a proxy before it at once."""
REQUIRE_REAL_KAFKA = "PASSPORT_TEST_REQUIRE_REAL_KAFKA"

Server = TypeVar("Server", bound=AbstractContextManager[object])


@dataclass(frozen=True)
class OwnKafka:
    """What tests may know of a Kafka that was started for them; `proxied` as `LocalKafka` has it."""

    pid: int
    node_id: int
    proxied: Sequence[tuple[int, int]]

    @property
    def proxied_port(self) -> int:
        """Where a proxy of this process finds the broker."""
        return self._proxied_here[0]

    @property
    def proxy_port(self) -> int:
        """Where clients look for that proxy."""
        return self._proxied_here[1]

    @property
    def _proxied_here(self) -> tuple[int, int]:
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        return self.proxied[number % len(self.proxied)]


@dataclass(frozen=True)
class Infrastructure:
    """Servers that tests share for a session. `kind` says which, `is_real_kafka` is false for the demo's broker.

    `kafka` is None where somebody else started it.
    """

    bootstrap_servers: str
    database_url: str
    kind: str
    is_real_kafka: bool = True
    kafka: OwnKafka | None = None

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """What `dataclasses.asdict` made, as another process gets it."""
        kafka = document["kafka"]
        return cls(**{**document, "kafka": None if kafka is None else OwnKafka(**kafka)})


class NotAvailable(Exception):
    """This way of getting servers does not work here; the text says why."""


@contextmanager
def server_directory(parent: Path | None = None) -> Iterator[Path]:
    """A temporary folder that PostgreSQL's own user can reach: outside private homes, unless `parent` is one.

    A test session has one folder for all of them.
    """
    directory = Path(tempfile.mkdtemp(prefix="passport-worker-", dir=parent or os.environ.get(SESSION)))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def own_server(make: Callable[[Path], Server], what: str) -> Iterator[Server]:
    """A server that runs for nobody else. Skips the test where it cannot be had."""
    with server_directory() as directory:
        try:
            server = make(directory)
        except ServerMissing as missing:
            pytest.skip(f"needs {what} of its own: {missing}")
        with server:
            yield server


def _from_environment(stack: ExitStack) -> Infrastructure:
    try:
        kafka = os.environ["PASSPORT_TEST_KAFKA_BOOTSTRAP_SERVERS"]
        database = os.environ["PASSPORT_TEST_DATABASE_URL"]
    except KeyError as missing:
        raise NotAvailable(f"{missing.args[0]} is not set") from missing
    return Infrastructure(kafka, database, "servers named in the environment")


def _from_docker(stack: ExitStack) -> Infrastructure:
    address = f"{_docker_host()}:{(port := free_port())}"
    try:
        from testcontainers.community.postgres import PostgresContainer

        stack.enter_context(_kafka_container(address, port))
        postgres = stack.enter_context(PostgresContainer(POSTGRES_IMAGE, driver=None))
        database_url = postgres.get_connection_url()
    except Exception as error:  # an image cannot be had, or does not start here: another way may still work
        raise NotAvailable(f"Docker does not serve: {error!r}") from error
    return Infrastructure(address, database_url, f"Docker: {KAFKA_IMAGE}, {POSTGRES_IMAGE}")


def _docker_host() -> str:
    """Where the ports of containers are to be found."""
    try:
        from testcontainers.core.docker_client import DockerClient

        engine = DockerClient(timeout=5)
        with closing(engine.client):
            engine.client.ping()
            return str(engine.host())
    except Exception as error:
        raise NotAvailable(f"no Docker engine answers ({type(error).__name__})") from error


def _kafka_container(address: str, port: int) -> AbstractContextManager[object]:
    """The image that users run; testcontainers' own `KafkaContainer` needs the scripts of Confluent's images."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(9092, port)
    container.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(60))
    with_envs: AbstractContextManager[object] = container.with_envs(**container_environment(address))
    return with_envs


def container_environment(address: str) -> dict[str, str]:
    """The settings of the container's broker, as the image takes them.

    Two listeners, since transaction markers go from the broker to itself, and `address` is only valid outside.
    """
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": "1@localhost:9093",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INSIDE",
        "listeners": "OUTSIDE://:9092,INSIDE://localhost:9094,CONTROLLER://localhost:9093",
        "advertised.listeners": f"OUTSIDE://{address},INSIDE://localhost:9094",
        "listener.security.protocol.map": "OUTSIDE:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        **SINGLE_BROKER,
    }
    return {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in settings.items()}


def _from_maven(stack: ExitStack) -> Infrastructure:
    directory = stack.enter_context(server_directory())
    kafka, postgres = LocalKafka(directory, proxies=PROXIES), local_postgres(directory)
    with ThreadPoolExecutor(1) as threads:  # while one waits for the other's disk
        starting = threads.submit(stack.enter_context, kafka)
        stack.enter_context(postgres)
        starting.result()
    kind = f"Apache Kafka {KAFKA_VERSION} through Maven, {version_of(postgres)}"
    own = OwnKafka(kafka.pid, kafka.node_id, kafka.proxied)
    return Infrastructure(kafka.bootstrap_servers, postgres.url, kind, kafka=own)


def _from_wheels(stack: ExitStack) -> Infrastructure:
    directory = stack.enter_context(server_directory())
    broker = stack.enter_context(EmbeddedBroker(directory))
    postgres = stack.enter_context(local_postgres(directory))
    kind = f"noida-db and {version_of(postgres)}, so tests that need a real Kafka are skipped"
    return Infrastructure(broker.bootstrap_servers, postgres.url, kind, is_real_kafka=False)


@contextmanager
def infrastructure() -> Iterator[Infrastructure]:
    """Start the first that works, and stop it.

    With `PASSPORT_TEST_REQUIRE_REAL_KAFKA=1`, or a version of Kafka that is named, only a real one will do.
    """
    ways: list[Callable[[ExitStack], Infrastructure]] = [_from_environment, _from_docker, _from_maven]
    if os.environ.get(REQUIRE_REAL_KAFKA) != "1" and "PASSPORT_TEST_KAFKA_VERSION" not in os.environ:
        ways.append(_from_wheels)
    reasons: list[str] = []
    for way in ways:
        with ExitStack() as stack:  # one for each way: what a failed way has started is stopped before the next
            try:
                found = way(stack)
            except (NotAvailable, ServerMissing, ServerFailed) as error:
                reasons.append(str(error))
                continue
            skipped = "; ".join(reason.splitlines()[0] for reason in reasons)
            yield replace(found, kind=f"{found.kind} (not taken: {skipped})") if skipped else found
            return
    raise NotAvailable("no servers for the tests: " + "; ".join(reasons))
