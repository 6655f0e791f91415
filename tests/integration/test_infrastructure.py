"""The servers that the other tests stand on do what those tests need."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from xdist.remote import Producer

from tests.infrastructure.choose import Infrastructure, server_directory
from tests.infrastructure.forked import ForkedProcess
from tests.infrastructure.kafka import KAFKA_VERSION, KafkaMissing, LocalKafka, kafka_jars, kafka_java
from tests.infrastructure.postgres import POSTGRES_VERSION, local_postgres, programs_of_debian
from tests.infrastructure.processes import is_stopped
from tests.infrastructure.sharing import ByFile
from tests.infrastructure.tools import NOT_OURS
from tests.workbench import REPOSITORY, run_command, until
from worker.tools.demo.embedded import EmbeddedPostgres, ServerFailed, ServerMissing


async def create_topic(servers: str, topic: str) -> None:
    """One partition, one replica."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()


@asynccontextmanager
async def transactional_producer(servers: str, name: str) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer of that transactional id."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=name)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def committed_values(servers: str, topic: str, count: int) -> list[bytes | None]:
    """The first values of a topic that a `read_committed` consumer sees; fails after 20 s."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=servers, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_a_transaction_shows_what_it_commits_and_hides_what_it_aborts(
    servers: Infrastructure, kafka_prefix: str
) -> None:
    """Transactions and `read_committed` work on the broker that the session took."""
    topic = f"{kafka_prefix}.seen"
    await create_topic(servers.bootstrap_servers, topic)
    async with transactional_producer(servers.bootstrap_servers, kafka_prefix) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed")
    assert await committed_values(servers.bootstrap_servers, topic, 1) == [b"committed"]


async def test_servers_are_those_that_the_summary_names(servers: Infrastructure) -> None:
    """Where they are ours: the version that is said, which the environment may have chosen, is the one that runs."""
    if servers.kafka is None:
        pytest.skip(f"needs servers that were started for these tests, {NOT_OURS}")
    connection = await asyncpg.connect(servers.database_url)
    postgres = str(await connection.fetchval("SHOW server_version"))
    await connection.close()
    assert postgres.startswith(POSTGRES_VERSION or "18.")
    assert [jar.name for jar in kafka_jars().glob("kafka-clients-*")] == [f"kafka-clients-{KAFKA_VERSION}.jar"]
    assert servers.kind.startswith(f"Apache Kafka {KAFKA_VERSION} through Maven, PostgreSQL {postgres}")


def test_kafka_starts_with_classes_that_are_loaded() -> None:
    """Java takes the archive. Seen to fail with another order of the jars: then it reads the classes from them."""
    try:
        java, *options = kafka_java()
    except KafkaMissing as missing:
        pytest.skip(f"needs a real Kafka: {missing}")
    command = [java, "-Xlog:class+load:stdout", *options, "kafka.Kafka"]
    loaded = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert "kafka.Kafka$ source: shared objects file (top)" in loaded, loaded[-3000:]


def test_processes_compile_modules_once() -> None:
    """Also where the environment forbids it, but not beside the sources then."""
    ask = "import sys; print(sys.dont_write_bytecode, sys.pycache_prefix)"
    code = (
        "import subprocess, sys; from tests.infrastructure.bytecode import keep_bytecode; keep_bytecode(); "
        f"{ask}; sys.stdout.flush(); subprocess.run([sys.executable, '-c', {ask!r}])"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60
    )
    kept = f"False {REPOSITORY / '.pytest_cache' / 'bytecode'}"
    assert done.stdout.splitlines() == [kept, kept], done.stderr


class _Process:
    """One that pytest-xdist shares tests with, as its scheduler sees it."""

    shutting_down = False

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.given: list[int] = []

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        """Give it some tests."""
        self.given += indices

    def shutdown(self) -> None:
        """Nothing is left for it."""
        self.shutting_down = True


def test_no_two_processes_get_tests_of_one_file() -> None:
    """Each would start the servers that the file has of its own. A long file without such servers may be shared."""
    names = [f"tests/end_to_end/test_acls.py::test_{number}" for number in range(6)]
    names += [f"tests/model/test_schedules.py::test_{number}" for number in range(6)]
    config = SimpleNamespace(option=SimpleNamespace(loadscopereorder=True), getvalue=lambda name: ["2*popen"])
    log = Producer("no log", enabled=False)
    schedule, processes = ByFile(config, log), [_Process("one"), _Process("other")]
    for process in processes:
        schedule.add_node(process)
        schedule.add_node_collection(process, names)
    schedule.schedule()
    assert [process.given for process in processes] == [[0, 1, 2, 3, 4, 5], [6, 7]]
    for index in (6, 7):
        schedule.mark_test_complete(processes[1], index)
    assert processes[1].given == [6, 7, 8, 9]


def test_another_server_at_the_port_is_not_taken_for_ours(own_postgres: EmbeddedPostgres) -> None:
    """Two that chose one port: the second one says that it did not start. Seen to fail when the port was asked."""
    with server_directory() as directory:
        second = local_postgres(directory)
        second.port = own_postgres.port
        with pytest.raises(ServerFailed, match="could not bind"):
            second.start()


def test_a_version_that_is_not_there_is_told() -> None:
    """Another one is not taken for it in silence."""
    with pytest.raises(ServerMissing, match=r"PostgreSQL 9 is not there; \.ci/tools"):
        programs_of_debian("9")


async def test_each_test_has_an_empty_database(database_url: str) -> None:
    """The database answers and holds no tables."""
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    finally:
        await connection.close()


async def test_postgres_keeps_its_data_over_a_crash(own_postgres: EmbeddedPostgres) -> None:
    """What was committed before SIGKILL is there after a new start on the same port, busy backends or not."""
    url = own_postgres.url
    busy = [await asyncpg.connect(url) for _ in range(10)]
    await busy[0].execute("CREATE TABLE kept AS SELECT 7 AS number")
    queries = [asyncio.ensure_future(one.execute("SELECT sum(n) FROM generate_series(1, 1e9) n")) for one in busy]
    await asyncio.sleep(0.2)
    own_postgres.kill()
    own_postgres.start()
    lost = await asyncio.gather(*queries, return_exceptions=True)
    assert all(isinstance(one, Exception) for one in lost)
    assert own_postgres.url == url
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT number FROM kept") == 7
    await connection.close()


async def test_a_frozen_postgres_answers_nothing_and_a_thawed_one_goes_on(own_postgres: EmbeddedPostgres) -> None:
    """A frozen server keeps the connection open but does not answer."""
    connection = await asyncpg.connect(own_postgres.url)
    own_postgres.freeze()
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(query := asyncio.ensure_future(connection.fetchval("SELECT 1"))), 0.5)
    finally:
        own_postgres.thaw()
    assert await query == 1
    await connection.close()


@pytest.mark.real_kafka
async def test_kafka_keeps_its_data_over_a_crash(own_kafka: LocalKafka) -> None:
    """What was committed before SIGKILL is read, and more is committed, after a new start on the same port."""
    servers = own_kafka.bootstrap_servers
    await create_topic(servers, "kept")
    async with transactional_producer(servers, "before") as producer, producer.transaction():
        await producer.send_and_wait("kept", b"before")
    own_kafka.kill()
    own_kafka.start()
    assert own_kafka.bootstrap_servers == servers
    async with transactional_producer(servers, "before") as producer, producer.transaction():
        await producer.send_and_wait("kept", b"after")
    assert await committed_values(servers, "kept", 2) == [b"before", b"after"]


@pytest.mark.real_kafka
async def test_a_frozen_kafka_acknowledges_nothing_and_a_thawed_one_goes_on(own_kafka: LocalKafka) -> None:
    """A record sent to a frozen broker is acknowledged once it is thawed."""
    await create_topic(own_kafka.bootstrap_servers, "frozen")
    async with transactional_producer(own_kafka.bootstrap_servers, "frozen") as producer, producer.transaction():
        await producer.send_and_wait("frozen", b"before")
        own_kafka.freeze()
        try:
            sent = await producer.send("frozen", b"during")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(sent), 1)
        finally:
            own_kafka.thaw()
        await sent
    assert await committed_values(own_kafka.bootstrap_servers, "frozen", 2) == [b"before", b"during"]


_SESSION = """
import os, signal, subprocess, sys, time
from tests.infrastructure.forked import ForkedProcess
from tests.infrastructure.shared import Keeper
keeper = Keeper()
worker = ForkedProcess("worker", ["run"], env={"PASSPORT_HTTP_PORT": "0", **os.environ}, stderr=subprocess.DEVNULL)
other = subprocess.Popen(["sleep", "60"], start_new_session=True)
print(os.path.dirname(keeper.address), worker.pid, other.pid, flush=True)
if sys.argv[1] == "close":
    keeper.close()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("end", ["close", "kill"])
async def test_nothing_of_a_session_outlives_it(end: str) -> None:
    """Neither workers nor servers nor its folder, also where it is killed."""
    command = [sys.executable, "-c", _SESSION, end]
    session = await asyncio.to_thread(subprocess.run, command, cwd=REPOSITORY, stdout=PIPE, text=True, timeout=30)
    folder, *pids = session.stdout.split()
    left = [Path(folder), *(Path("/proc", pid) for pid in pids)]
    assert len(left) == 3
    await until(lambda: not any(path.exists() for path in left), 10, "all is gone")


def test_a_run_ends_and_names_the_test_that_killed_its_process(tmp_path: Path) -> None:
    """Seen to hang for an hour: a test took all memory, and another process in its place waited for work for ever."""
    for number in range(8):
        (tmp_path / f"test_{number}.py").write_text("def test_passes(): pass\n")
    kills = "import os, time\ndef test_kills():\n    time.sleep(1)\n    os.kill(os.getpid(), 9)\n"
    (tmp_path / "test_0.py").write_text(f"def test_passes(): pass\n{kills}")
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-n", "2", "--dist", "loadfile", f"{tmp_path}"]
    run = subprocess.run(command, cwd=REPOSITORY, stdout=PIPE, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert "crashed while running" in run.stdout
    assert "test_kills" in run.stdout


async def test_a_fork_is_as_a_process_of_an_interpreter_of_its_own() -> None:
    """What it prints, its exit codes, its environment, and signals."""
    asked = ForkedProcess[str]("worker", ["validate", "-"], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)
    answer, nothing = await asyncio.to_thread(asked.communicate, "{}\n", 20)
    assert (asked.returncode, answer.startswith("line 1: "), nothing) == (1, True, "")
    assert (await asyncio.to_thread(run_command, "nonsense")).returncode == 2
    bad = await asyncio.to_thread(run_command, "settings", PASSPORT_HTTP_PORT="x")
    assert (bad.returncode, "PASSPORT_HTTP_PORT" in bad.stdout) == (2, True)
    with ForkedProcess[bytes]("worker", ["run"], env={**os.environ, "PASSPORT_HTTP_PORT": "0"}, stderr=PIPE) as worker:
        os.kill(worker.pid, signal.SIGSTOP)
        await until(lambda: is_stopped(worker), 10, "it is frozen")
        assert worker.poll() is None
        worker.kill()
        assert await asyncio.to_thread(worker.wait, 10) == -signal.SIGKILL
