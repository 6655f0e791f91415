"""A real Apache Kafka for tests: KRaft mode, one JVM, its jars from Maven into the user's cache folder."""

import os
import shutil
import signal
import subprocess
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Self
from uuid import uuid4

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.infrastructure.tools import CACHE
from worker.tools.demo.embedded import HOST, START_SECONDS, ServerFailed, ServerMissing, ServerProcess, free_port

KAFKA_VERSION = os.environ.get("PASSPORT_TEST_KAFKA_VERSION", "4.3.1")
DOWNLOAD_SECONDS = 240.0
_ARTIFACTS = ("kafka_2.13", "kafka-tools")

# What a broker without others needs, and what makes tests quick; topics get their settings from the tests.
SINGLE_BROKER = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    "log.cleaner.dedupe.buffer.size": str(2 << 20),  # Kafka's own choice costs each broker 128 MB, which it fills first
}


class KafkaMissing(ServerMissing):
    """Java or Maven is not there, or the jars cannot be had; the text says which."""


def kafka_jars(version: str = KAFKA_VERSION) -> Path:
    """The folder with the jars of that Kafka; downloads them once. Raises `KafkaMissing`."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise KafkaMissing(f"{tool} is not installed")
    libs = CACHE / f"kafka-{version}"
    if not libs.exists():
        with _cache_locked():
            if not libs.exists():
                _download(CACHE, libs, version)
    return libs


@contextmanager
def _cache_locked() -> Iterator[None]:
    """One process at a time fills the cache folder."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        flock(lock, LOCK_EX)
        yield


def _download(cache: Path, libs: Path, version: str) -> None:
    """Into a folder of our own, then renamed: two runs at once do not see each other's half."""
    with tempfile.TemporaryDirectory(dir=cache) as work:
        Path(work, "pom.xml").write_text(_pom(version))
        command = [
            "mvn",
            "-q",
            "-B",
            "dependency:copy-dependencies",
            "-DoutputDirectory=libs",
            "-DincludeScope=runtime",
        ]
        try:
            done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS)
        except subprocess.TimeoutExpired as late:
            raise KafkaMissing(f"Maven did not fetch Kafka {version} in {DOWNLOAD_SECONDS:.0f} s") from late
        if done.returncode != 0:
            raise KafkaMissing(f"Maven could not fetch Kafka {version}: {done.stdout[-500:]}")
        try:
            Path(work, "libs").rename(libs)
        except OSError:
            if not libs.exists():  # otherwise another run was first
                raise


def _pom(version: str) -> str:
    dependencies = "".join(
        f"<dependency><groupId>org.apache.kafka</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
        for name in _ARTIFACTS
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>local</groupId><artifactId>kafka</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )


@cache
def kafka_java(version: str = KAFKA_VERSION) -> tuple[str, ...]:
    """The start of a command line for a class of that Kafka. Its classes come out of an archive, already loaded.

    A start that reads them from the jars takes twice the CPU time. Raises `KafkaMissing`.
    """
    archive = _rehearsed(version) / _CLASSES
    return ("java", *([f"-XX:SharedArchiveFile={archive}"] if archive.exists() else ()), "-cp", _class_path(version))


def _class_path(version: str) -> str:
    """Java takes an archive only with the class path that it was made with, and a folder promises no order."""
    return os.pathsep.join(map(str, sorted(kafka_jars(version).glob("*.jar"))))


_CLASSES, _FEATURES = "classes.jsa", "bootstrap.checkpoint"


def _rehearsed(version: str) -> Path:
    """A folder with what a first start of that Kafka makes for later ones: loaded classes, and features of a cluster.

    It is beside the jars, and of this Java, which would refuse the archive of another one.
    """
    java = Path(shutil.which("java") or "java").resolve()
    java_key = sha256(f"{java} {java.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    folder = kafka_jars(version) / f"rehearsed-{java_key}"
    if not folder.exists():
        with _cache_locked():
            if not folder.exists():
                with tempfile.TemporaryDirectory(dir=CACHE) as work:
                    _Rehearsal(Path(work), version).perform().rename(folder)
    return folder


class LocalKafka(ServerProcess):
    """Broker and controller in one JVM, loopback only. `start` after `kill` goes on with the same ports and data.

    Another listener, at `proxied_port`, sends its clients to `proxy_port`, where a test may start a `KafkaProxy`.
    There are as many as `proxies` says, all of them in `proxied`: pairs of these two ports.
    """

    version = KAFKA_VERSION
    heap = "768m"
    jvm_options: tuple[str, ...] = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
    """It starts in two thirds of the time, and serves as fast as tests need it."""
    node_id = 1
    cluster_settings = SINGLE_BROKER

    def __init__(self, directory: Path, proxies: int = 1) -> None:
        super().__init__("kafka", directory)
        self._directory = directory
        self.cluster_id = str(uuid4())
        self._controller_port = free_port()
        self.voters = f"{self.node_id}@{HOST}:{self._controller_port}"
        """The controllers of the cluster, as a broker's setting names them."""
        self.proxied = [(free_port(), free_port()) for _ in range(proxies)]
        self.proxied_port, self.proxy_port = self.proxied[0]
        kafka_jars(self.version)
        self._properties = directory / "server.properties"
        self._data = directory / "kafka-data"

    @property
    def bootstrap_servers(self) -> str:
        """For `PASSPORT_KAFKA_BOOTSTRAP_SERVERS`."""
        return f"{HOST}:{self.port}"

    def start(self) -> Self:
        """Format the storage on first use, then start."""
        if not self._properties.exists():
            settings = self._settings()
            self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
            self._format()
        return super().start()

    def __exit__(self, *_: object) -> None:
        self.kill()  # a clean stop takes seconds, for data that nobody needs any more

    def is_serving(self) -> bool:
        """Whether it serves clients; after a crash the port answers before the broker's old session has ended."""
        if not super().is_serving():
            return False
        try:
            admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
            return self.node_id in admin.list_topics(timeout=2).brokers
        except KafkaException:
            return False

    def _format(self) -> None:
        """As Kafka's tool does, which takes a second; only what it makes of options is its own."""
        if self._format_options():
            self._format_with_tool()
            return
        self._data.mkdir()
        shutil.copy(_rehearsed(self.version) / _FEATURES, self._data)
        directory_id = urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
        Path(self._data, "meta.properties").write_text(
            f"node.id={self.node_id}\ndirectory.id={directory_id}\nversion=1\ncluster.id={self.cluster_id}\n"
        )

    def _format_with_tool(self) -> None:
        options = ("-t", self.cluster_id, "-c", str(self._properties), *self._format_options())
        command = self._java("kafka.tools.StorageTool", "format", *options)
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS)
        if done.returncode != 0:
            raise ServerFailed(f"Kafka's storage could not be formatted: {done.stdout[-500:]}{done.stderr[-500:]}")

    def _format_options(self) -> tuple[str, ...]:
        """What else the storage begins with."""
        return ()

    def _java(self, *arguments: str) -> list[str]:
        java, *options = kafka_java(self.version)
        return [java, f"-Xmx{self.heap}", *self.jvm_options, *options, *arguments]

    def command(self) -> list[str]:
        """One JVM in the foreground."""
        return self._java("kafka.Kafka", str(self._properties))

    def _settings(self) -> dict[str, str]:
        ways = {"PLAINTEXT": (self.port, self.port)}
        ways |= {f"PROXIED{number}": pair for number, pair in enumerate(self.proxied)}
        controller = f"CONTROLLER://{HOST}:{self._controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": self.voters,
            "listeners": ",".join([*(f"{name}://{HOST}:{port}" for name, (port, _) in ways.items()), controller]),
            "advertised.listeners": ",".join(f"{name}://{HOST}:{port}" for name, (_, port) in ways.items()),
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in (*ways, "CONTROLLER")),
            "log.dirs": str(self._data),
            **self.cluster_settings,
        }


class _Rehearsal(LocalKafka):
    """The first start of a version on this machine, by the jars alone."""

    def __init__(self, directory: Path, version: str) -> None:
        self.version = version
        super().__init__(directory)

    def perform(self) -> Path:
        """Start and stop; the folder with what comes of it. Raises `ServerFailed`."""
        results = Path(self._properties.parent, "results")
        results.mkdir()
        self._archive = results / _CLASSES
        with self:
            shutil.copy(self._data / _FEATURES, results)
            os.kill(self.pid, signal.SIGTERM)
            assert self._process is not None
            self._process.wait(START_SECONDS)  # it writes the archive when it ends
        return results

    def _format(self) -> None:
        self._format_with_tool()

    def _java(self, *arguments: str) -> list[str]:
        archiving = ("-XX:+IgnoreUnrecognizedVMOptions", f"-XX:ArchiveClassesAtExit={self._archive}")
        return ["java", *self.jvm_options, *archiving, "-cp", _class_path(self.version), *arguments]
