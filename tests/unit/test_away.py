"""A server that is away: the same sentence everywhere, soon, with its address and without a password."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from unittest.mock import AsyncMock

import asyncpg
import pytest
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    KafkaConnectionError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from tests.workbench import REPOSITORY, get, run_command, settings_of
from worker.settings import Settings
from worker.store.port import StoreUnavailable
from worker.stream.cluster.credentials import Refused
from worker.stream.faults import fault_of
from worker.tools.common import connect
from worker.tools.common.report import Problem
from worker.tools.common.servers import RETRY_SECONDS, Servers, both_servers
from worker.tools.demo.embedded import free_port
from worker.tools.doctor.doctor import doctor

ADDRESSES = {
    "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
    "PASSPORT_DATABASE_URL": "postgresql://w:hunter2@db.example/p",
}
SEVERAL = OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect call failed")
START = "Start it, or correct"


def caused(error: Exception) -> StoreUnavailable:
    """An error of the driver, as the store raises it."""
    unavailable = StoreUnavailable(f"{type(error).__name__}: {error}")
    unavailable.__cause__ = error
    return unavailable


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), "cannot be reached at {}: connection refused"),
        (SEVERAL, "cannot be reached at {}: connection refused"),
        (ConnectionResetError(104, "x"), "cannot be reached at {}: connection reset by peer"),
        (socket.gaierror(-2, "Name or service not known"), "cannot be reached at {}: the host name is not known"),
        (TimeoutError(), "does not answer at {}"),
        (asyncpg.CannotConnectNowError("the system is starting up"), "at {}: the system is starting up"),
        (asyncpg.InterfaceError("postgresql://w:hunter2@db.example"), "at {}: InterfaceError"),
    ],
)  # fmt: skip
def test_postgres(error: Exception, sentence: str) -> None:
    """Of a tool's connection, and of the worker's pool."""
    settings = settings_of(ADDRESSES)
    for raised in (error, caused(error)):
        fault = fault_of(raised, settings, of_kafka=False)
        assert fault is not None
        assert fault.finding == f"Postgres {sentence.format('db.example:5432/p')}"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (KafkaConnectionError("connection refused"), "cannot be reached at kafka.example:9092: connection refused."),
        (TimeoutError(), "does not answer at kafka.example:9092. Look at its log,"),
        (Refused("b:1: no"), "cannot be used with these PASSPORT_KAFKA_* settings: b:1: no. Correct these settings,"),
    ],
)
def test_kafka(error: Exception, sentence: str) -> None:
    """With what to do."""
    assert str(fault_of(error, settings_of(ADDRESSES))).startswith(f"Kafka {sentence}")


def test_a_database_without_this_schema() -> None:
    """It is not away, so the advice is to migrate it."""
    error, settings = asyncpg.UndefinedTableError('relation "lane" does not exist'), settings_of(ADDRESSES)
    assert Servers(settings).problem(error).code == "schema-differs"
    assert str(fault_of(error, settings)) == (
        'The schema of Postgres at db.example:5432/p is not this version\'s: relation "lane" does not exist. '
        "Run `passport-worker migrate`, or correct PASSPORT_DATABASE_URL."
    )


def test_a_cluster_without_a_topic() -> None:
    """It is not away."""
    problem = Servers(settings_of(ADDRESSES)).problem(UnknownTopicOrPartitionError("topic c.in: error 3"))
    assert (problem.code, problem.text.partition(". ")[0]) == ("topics-missing", "Kafka has no topic c.in")


def test_other_faults() -> None:
    """A missing ACL needs no advice to try again, and a defect is no server's fault."""
    denied = fault_of(TopicAuthorizationFailedError("t"), settings_of(ADDRESSES))
    assert str(denied) == "Kafka: [Error 29] TopicAuthorizationFailedError: t"
    assert fault_of(KeyError("x"), settings_of(ADDRESSES)) is None


@pytest.fixture
def refusing() -> Settings:
    """Settings of two servers at ports where nobody listens."""
    return settings_of(
        {
            "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
            "PASSPORT_DATABASE_URL": f"postgresql://w:hunter2@127.0.0.1:{free_port()}/p",
        }
    )


@pytest.fixture
def mute() -> Iterator[Settings]:
    """Settings of two servers that accept connections and never answer."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        yield settings_of(
            {"PASSPORT_KAFKA_BOOTSTRAP_SERVERS": address, "PASSPORT_DATABASE_URL": f"postgresql://w@{address}/p"}
        )


def sentences(settings: Settings, reason: str) -> tuple[str, str]:
    """What is said of Kafka and of Postgres."""
    servers, place = settings.kafka_bootstrap_servers, settings.database_url.partition("@")[2]
    return (
        f"Kafka cannot be reached at {servers}: {reason}. {START} PASSPORT_KAFKA_BOOTSTRAP_SERVERS.",
        f"Postgres cannot be reached at {place}: {reason}. {START} PASSPORT_DATABASE_URL.",
    )


async def problems_of(servers: Servers) -> tuple[str, str]:
    """What verbs and console say."""

    async def nothing(*_: object) -> None:
        """Ask nothing more than a connection."""

    kafka = await servers.kafka(servers.cluster.ping)
    postgres = await servers.postgres(nothing)
    assert isinstance(kafka, Problem)
    assert isinstance(postgres, Problem)
    return kafka.text, postgres.text


async def test_verbs_and_doctor_say_the_same_soon(refusing: Settings) -> None:
    """Within three seconds of the first refused connection."""
    async with both_servers(refusing) as servers:
        began = time.monotonic()
        assert await problems_of(servers) == sentences(refusing, "connection refused")
        assert time.monotonic() - began < 6.0, "two servers, one after the other"
        report = await doctor(servers)
    assert tuple(problem.text for problem in report.problems) == sentences(refusing, "connection refused")


async def test_server_that_never_answers(mute: Settings) -> None:
    """It is not waited for without end, and an exception without a text is not shown."""
    async with both_servers(mute, patience=0.5) as servers:
        kafka, postgres = await problems_of(servers)
        report = await doctor(servers)
    assert kafka.startswith(f"Kafka does not answer at {mute.kafka_bootstrap_servers}. Look at its log,")
    assert postgres.startswith(f"Postgres does not answer at {mute.kafka_bootstrap_servers}/p. Look at its log,")
    assert [problem.text for problem in report.problems] == [kafka, postgres]


async def test_a_coordinator_that_is_not_there_yet_is_waited_for(refusing: Settings) -> None:
    """A new cluster makes the topic of offsets first. Seen in CI: `lanes` gave up after a second."""
    servers, answers = Servers(refusing, patience=5.0), iter([GroupCoordinatorNotAvailableError()] * 6)
    began = time.monotonic()

    async def question() -> str:
        for error in answers:
            raise error
        return "known"

    assert await servers.kafka(question) == "known"
    assert time.monotonic() - began > RETRY_SECONDS


def test_readyz_and_log_say_it_too(refusing: Settings) -> None:
    """A worker that waits for its servers."""
    _, postgres = sentences(refusing, "connection refused")
    environment = {
        "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": refusing.kafka_bootstrap_servers,
        "PASSPORT_DATABASE_URL": refusing.database_url,
        "PASSPORT_HTTP_PORT": str(port := free_port()),
    }
    command = [sys.executable, "-m", "worker", "run"]
    said = ""
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True) as worker:
        try:
            for _ in range(100):
                time.sleep(0.2)
                said = get(f"http://127.0.0.1:{port}/readyz")[1]
                if "Postgres" in said:
                    break
        finally:
            worker.terminate()
            _, log = worker.communicate(timeout=20)
    assert said == f"waiting for servers: {postgres}\n"
    assert f'"error": "{postgres}"' in log
    assert "hunter2" not in log + said


@pytest.mark.parametrize("command", ["quota show", "keys list", "catalogue export", "migrate", "topics create"])
def test_verb_prints_no_empty_table(refusing: Settings, command: str) -> None:
    """The sentence alone, in one line."""
    done = run_command(
        *command.split(),
        PASSPORT_KAFKA_BOOTSTRAP_SERVERS=refusing.kafka_bootstrap_servers,
        PASSPORT_DATABASE_URL=refusing.database_url,
    )
    assert done.returncode == 1
    for line in (done.stdout + done.stderr).splitlines():
        assert line.partition(" ")[2] in sentences(refusing, "connection refused")


async def test_a_session_that_does_not_end_in_time_takes_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked is answered, and what was committed stays, however long the server takes to say goodbye."""
    session = AsyncMock()
    session.close.side_effect = TimeoutError
    monkeypatch.setattr(connect, "connect", AsyncMock(return_value=session))
    async with connect.connected_to(settings_of({}).database) as connection:
        assert connection is session
    session.close.assert_awaited_once_with(timeout=1.0)
