"""A place for one measurement: topics and a database of its own, filled with a catalogue, and worker processes."""

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tests.benchmark.catalogue import load_companies
from tests.benchmark.commands import BenchCommand, Gate, Shape, commands, produce_all
from tests.benchmark.reader import Arrival, ResultReader
from tests.benchmark.refused import ALTERED
from tests.benchmark.servers import Servers
from tests.benchmark.signed import add_signing_keys, signed
from tests.workbench import REPOSITORY, settings_of
from worker.settings import Settings
from worker.store.partitions import ensure_days
from worker.stream.cluster.connection import Cluster
from worker.tools.common.migrating import migrate
from worker.tools.common.topics import create_topics

Process = subprocess.Popen[bytes]
_numbers = itertools.count(1)

STALL_SECONDS = 60.0
"""So long without any result is a failure."""


@dataclass
class Place:
    """Topics and database for one contender; `token` makes its serial numbers unique.

    Commands go to the channels in `loaded`, evenly over all of their partitions.
    """

    servers: Servers
    environment: dict[str, str]
    shape: Shape
    log: Path
    token: str = field(default_factory=lambda: uuid4().hex[:8].upper())
    processes: list[Process] = field(default_factory=list)
    sent: int = 0
    loaded: tuple[str, ...] = ("",)

    @property
    def settings(self) -> Settings:
        """As the worker reads them."""
        return settings_of(self.environment)

    @property
    def partitions(self) -> int:
        """Of every topic."""
        return self.settings.topic_partitions

    @property
    def pids(self) -> list[int]:
        """Of all processes."""
        return [one.pid for one in self.processes]

    def start(self, *module: str) -> Process:
        """A contender's process: `python -m <module> …`, with the worker's settings in the environment."""
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=REPOSITORY,
            env={**self.servers.clean_environment(), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End all processes, politely first."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def stream(self, count: int) -> Iterator[BenchCommand]:
        """`count` new commands; those that are taken count as sent."""
        algorithm, topics = self.shape.algorithm, [own.topic_commands for own in self._channels]
        partitions = self.partitions
        for one in commands(count, self.shape, len(topics) * partitions, f"{self.token}-{self.sent}"):
            self.sent += 1
            channel, partition = divmod(one.partition, partitions)
            placed = BenchCommand(partition, one.value, one.headers, topics[channel])
            sent = placed if algorithm is None else signed(placed, algorithm, topics[channel])
            yield sent if self.shape.altered is None else ALTERED[self.shape.altered](sent)

    @property
    def _channels(self) -> list[Settings]:
        return [self.settings.of_channel(name) for name in self.loaded]

    def publish(self, count: int) -> None:
        """Publish `count` new commands, readable at once."""
        producer = Producer({"bootstrap.servers": self.servers.bootstrap_servers, "linger.ms": 5})
        produce_all(producer, self.settings.topic_commands, self.stream(count))

    def gate(self) -> Gate:
        """A closed gate."""
        return Gate(self.servers.bootstrap_servers, self.settings.topic_commands)

    def reader(self) -> ResultReader:
        """Reads all results."""
        topics = [topic for channel in self._channels for topic in channel.result_topics]
        return ResultReader(self.servers.bootstrap_servers, topics, self.partitions)

    def wait(self, reader: ResultReader, what: str, count: int | None = None) -> list[Arrival]:
        """The arrivals once there are `count`, or as many as commands were sent; fails where none comes for long."""
        try:
            return reader.wait_for(count or self.sent, STALL_SECONDS)
        except TimeoutError as late:
            raise TimeoutError(f"{what}: {late}\n{self.log_tail()}") from late

    def warm_up(self, reader: ResultReader, count: int = 300) -> None:
        """Publish a few commands and wait for their results: processes are up, plans and caches are made."""
        self.publish(count)
        self.wait(reader, "warming up")

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Ask the place's database."""
        connection = await asyncpg.connect(self.settings.database_url)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    def log_tail(self) -> str:
        """The exit codes of the processes, None while they run, and the end of their common log."""
        return f"exit codes {[one.poll() for one in self.processes]}\n{self.log_text()[-3000:]}"

    def log_text(self) -> str:
        """The common log of the processes."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@contextmanager
def fresh_place(
    servers: Servers, shape: Shape, partitions: int = 6, database_url: str | None = None, channels: str = ""
) -> Iterator[Place]:
    """A place with new topics, on a new database with the shape's catalogue unless an existing one is named.

    `channels` are those beside the default one.
    """
    prefix = f"b{next(_numbers)}-{uuid4().hex[:6]}"
    database = f"bench_{uuid4().hex[:12]}"
    url = database_url or asyncio.run(make_database(servers, database, shape))
    environment = {**_environment(servers, url, prefix, partitions), "PASSPORT_CHANNELS": channels}
    place = Place(servers, environment, shape, servers.directory / f"{prefix}.log")
    try:
        asyncio.run(_make_topics(place.settings))
        yield place
    finally:
        place.stop()
        _delete_topics(place.settings)
        if database_url is None:
            asyncio.run(drop_database(servers, database))


def _environment(servers: Servers, database_url: str, prefix: str, partitions: int) -> dict[str, str]:
    topics = {name: f"{prefix}.{name.lower()}" for name in ("CREATED", "OVERAGE_REQUIRED", "CONFLICT", "REJECTED")}
    return {
        "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "PASSPORT_DATABASE_URL": database_url,
        "PASSPORT_GROUP_ID": f"{prefix}-group",
        "PASSPORT_TOPIC_COMMANDS": f"{prefix}.create",
        **{f"PASSPORT_TOPIC_{name}": topic for name, topic in topics.items()},
        "PASSPORT_TOPIC_PARTITIONS": str(partitions),
        "PASSPORT_HTTP_PORT": "0",
    }


async def make_database(servers: Servers, name: str, shape: Shape) -> str:
    """A migrated database with a catalogue; its URL."""
    await _administer(servers, f"CREATE DATABASE {name}")
    url = urlunsplit(urlsplit(servers.database_url)._replace(path=f"/{name}"))
    connection = await asyncpg.connect(url)
    try:
        await migrate(connection)
        await ensure_days(connection)
        await load_companies(connection, shape.companies, shape.products, shape.fields)
        if shape.algorithm is not None:
            await add_signing_keys(connection, shape.companies)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return url


async def drop_database(servers: Servers, name: str) -> None:
    """Drop a database, whoever is connected."""
    await _administer(servers, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def _administer(servers: Servers, statement: str) -> None:
    connection = await asyncpg.connect(servers.database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _make_topics(settings: Settings) -> None:
    cluster = Cluster(settings)
    try:
        await create_topics(cluster, settings)
    finally:
        await cluster.close()


def _delete_topics(settings: Settings) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for future in admin.delete_topics([*settings.topics_of_channels], operation_timeout=30).values():
        future.exception()
    time.sleep(0.2)
