"""Which servers the tests run on: the first of those in `shared` order that works, and it always says which."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.infrastructure.kafka import KafkaMissing, LocalKafka
from worker.demo.embedded import EmbeddedBroker, EmbeddedPostgres

KAFKA_IMAGE = "apache/kafka:4.3.1"
POSTGRES_IMAGE = "postgres:18.6-trixie"
REQUIRE_REAL_KAFKA = "PASSPORT_TEST_REQUIRE_REAL_KAFKA"


@dataclass(frozen=True)
class Infrastructure:
    """Servers that tests share for a session; `is_real_kafka` is false for the demo's broker."""

    bootstrap_servers: str
    database_url: str
    kind: str
    is_real_kafka: bool = True


class NotAvailable(Exception):
    """This way of getting servers does not work here; the text says why."""


@contextmanager
def server_directory() -> Iterator[Path]:
    """A temporary folder outside private homes, which PostgreSQL's own user can reach."""
    directory = Path(tempfile.mkdtemp(prefix="passport-worker-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _from_environment(stack: ExitStack) -> Infrastructure:
    try:
        kafka = os.environ["PASSPORT_TEST_KAFKA_BOOTSTRAP_SERVERS"]
        database = os.environ["PASSPORT_TEST_DATABASE_URL"]
    except KeyError as missing:
        raise NotAvailable(f"{missing.args[0]} is not set") from missing
    return Infrastructure(kafka, database, "servers named in the environment")


def _from_docker(stack: ExitStack) -> Infrastructure:
    if shutil.which("docker") is None:
        raise NotAvailable("docker is not installed")
    try:
        import docker

        docker.from_env(timeout=5).ping()
    except Exception as error:
        raise NotAvailable(f"no Docker engine answers ({type(error).__name__})") from error
    from testcontainers.community.kafka import KafkaContainer
    from testcontainers.community.postgres import PostgresContainer

    kafka = stack.enter_context(KafkaContainer(KAFKA_IMAGE).with_kraft())
    postgres = stack.enter_context(PostgresContainer(POSTGRES_IMAGE, driver=None))
    return Infrastructure(
        kafka.get_bootstrap_server(), postgres.get_connection_url(), f"Docker: {KAFKA_IMAGE}, {POSTGRES_IMAGE}"
    )


def _from_maven(stack: ExitStack) -> Infrastructure:
    directory = stack.enter_context(server_directory())
    try:
        kafka = LocalKafka(directory)
    except KafkaMissing as missing:
        raise NotAvailable(str(missing)) from missing
    stack.enter_context(kafka)
    postgres = stack.enter_context(EmbeddedPostgres(directory))
    return Infrastructure(kafka.bootstrap_servers, postgres.url, "Apache Kafka through Maven, PostgreSQL wheel")


def _from_wheels(stack: ExitStack) -> Infrastructure:
    directory = stack.enter_context(server_directory())
    broker = stack.enter_context(EmbeddedBroker(directory))
    postgres = stack.enter_context(EmbeddedPostgres(directory))
    kind = "noida-db and PostgreSQL wheels: tests that need a real Kafka are skipped"
    return Infrastructure(broker.bootstrap_servers, postgres.url, kind, is_real_kafka=False)


@contextmanager
def infrastructure() -> Iterator[Infrastructure]:
    """Start the first that works, and stop it. With `PASSPORT_TEST_REQUIRE_REAL_KAFKA=1` only a real Kafka will do."""
    ways: list[Callable[[ExitStack], Infrastructure]] = [_from_environment, _from_docker, _from_maven]
    if os.environ.get(REQUIRE_REAL_KAFKA) != "1":
        ways.append(_from_wheels)
    reasons: list[str] = []
    with ExitStack() as stack:
        for way in ways:
            try:
                found = way(stack)
            except NotAvailable as error:
                reasons.append(str(error))
            else:
                yield found
                return
        raise NotAvailable("no servers for the tests: " + "; ".join(reasons))
