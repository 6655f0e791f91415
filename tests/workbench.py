"""A workbench for tests through the real broker and database: topics, a catalogue, workers, librdkafka clients.

Commands are published and results read with librdkafka, as a stranger would; nothing here uses the worker's clients.
"""

import asyncio
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from tests.infrastructure.databases import fresh_database
from tests.infrastructure.forked import ForkedProcess, run_forked
from worker.domain.gs1 import with_check_digit
from worker.settings import Settings
from worker.store.partitions import ensure_days
from worker.store.sql import Connection
from worker.stream.cluster.connection import Cluster
from worker.tools.common.migrating import migrate
from worker.tools.common.topics import create_topics

REPOSITORY = Path(__file__).parent.parent
LABELS = ("created", "overage-required", "conflict", "rejected")


def gtin(number: int) -> str:
    """A valid GTIN-14 for a number."""
    return with_check_digit(f"{number:013d}")


ANY_PARTITION = range(1_000_000)


@dataclass(frozen=True)
class Tenant:
    """A company of the test catalogue with one API key and one product."""

    company_id: str
    api_key: str
    product_id: str

    @property
    def authorization(self) -> bytes:
        """The header value."""
        return f"Bearer {self.api_key}".encode()


def tenant(number: int) -> Tenant:
    """The tenant of that number; keys look like secrets, so that a leak can be searched for."""
    return Tenant(f"{number:024x}", f"tp_secret_{number:08d}", f"{0xA000 + number:024x}")


@dataclass(frozen=True)
class Result:
    """A record of a result or dead-letter topic, as a `read_committed` consumer sees it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    def header(self, name: str) -> str | None:
        """The value of the first header of that name."""
        return next((value.decode() for key, value in self.headers if key == name and value is not None), None)

    @property
    def cause(self) -> str:
        """`<topic>/<partition>/<offset>` of the command."""
        return self.header("ce_causationid") or ""

    @property
    def body(self) -> dict[str, object]:
        """The parsed value."""
        parsed: dict[str, object] = json.loads(self.value or b"null")
        return parsed


@dataclass
class Workbench:
    """Topics and a database of one test's own."""

    environment: dict[str, str]
    settings: Settings
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    channels: dict[str, int] = field(default_factory=dict)
    """How many partitions the channels beside the default one have."""

    @property
    def lanes(self) -> list[tuple[str, int]]:
        """Command topic and partition of each lane of all channels."""
        counts = {"": self.settings.topic_partitions, **self.channels}
        topics = {self.settings.of_channel(name).topic_commands: count for name, count in counts.items()}
        return [(topic, partition) for topic, count in topics.items() for partition in range(count)]

    @property
    def dead_letters(self) -> str:
        """The dead-letter topic."""
        return self.settings.dead_letter_topic

    # Worker processes

    def start_worker(
        self,
        log: Path,
        crash: str | None = None,
        module: str = "worker",
        tree: str = str(REPOSITORY),
        **environment: str,
    ) -> subprocess.Popen[bytes]:
        """A real worker process. With `<point>:<n>:kill` or `…:freeze` it does so when it is there the n-th time.

        `tree` is the folder that has its code.
        """
        module = module if crash is None else "tests.end_to_end.crashing_worker"
        return self._start(log, module, {**environment, "TEST_CRASH": crash or ""}, tree=Path(tree))

    def load_worker(self, log: Path) -> subprocess.Popen[bytes]:
        """The same, but it has to load its modules first, which takes a second."""
        return self._start(log, "worker", {}, forked=False)

    def _start(
        self, log: Path, module: str, environment: dict[str, str], *, forked: bool = True, tree: Path = REPOSITORY
    ) -> subprocess.Popen[bytes]:
        with log.open("ab") as stderr:
            process = ForkedProcess[bytes](
                module,
                ["run"],
                env={**os.environ, **self.environment, **environment},
                forked=forked,
                tree=tree,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        self.workers.append(process)
        self.logs.append(log)
        return process

    def stop_worker(self, process: subprocess.Popen[bytes], seconds: float = 10.0) -> int:
        """SIGTERM, and the exit code; fails when that takes longer than the contract allows."""
        process.send_signal(signal.SIGTERM)
        code = process.wait(seconds)
        self.workers.remove(process)
        return code

    def kill_workers(self) -> None:
        """End whatever still runs."""
        for process in self.workers:
            process.kill()
            process.wait(10)
        self.workers.clear()

    # Commands and results

    async def add_channel(self, name: str, partitions: int) -> None:
        """Create the topics of a channel; workers that start from now on serve it."""
        self.channels[name] = partitions
        self.environment["PASSPORT_CHANNELS"] = ",".join(self.channels)
        self.settings = settings_of(self.environment)
        channel = self.settings.of_channel(name).model_copy(update={"topic_partitions": partitions})
        cluster = Cluster(channel)
        try:
            await create_topics(cluster, channel)
        finally:
            await cluster.close()

    def publish(self, commands: Iterable[Mapping[str, Any]], channel: str = "") -> None:
        """Publish records given as keyword arguments of `Producer.produce`, less the topic; wait for all of them."""
        topic = self.settings.of_channel(channel).topic_commands
        producer = Producer({"bootstrap.servers": self.settings.kafka_bootstrap_servers, "linger.ms": 5})
        for command in commands:
            producer.produce(topic, **command)
            producer.poll(0)
        assert producer.flush(60) == 0

    def command(
        self, one: Tenant, number: int, serial: str, *, key: str | None = None, **more: object
    ) -> dict[str, object]:
        """A valid command; `more` is merged into the body, `partition` chooses the partition."""
        partition = more.pop("partition", None)
        body = {"productId": one.product_id, "gs1": {"gtin": gtin(number), "serialNumber": serial}, **more}
        headers: list[tuple[str, bytes]] = [("authorization", one.authorization)]
        if key is not None:
            headers.append(("idempotency-key", key.encode()))
        chosen = {} if partition is None else {"partition": partition}
        return {"value": json.dumps(body).encode(), "headers": headers, **chosen}

    def read(
        self, topics: Sequence[str], isolation: str = "read_committed", partitions: Container[int] = ANY_PARTITION
    ) -> list[Result]:
        """All records of `topics` that are readable now, in some of their partitions or in all."""
        return list(self.stream(topics, isolation, partitions))

    def stream(
        self, topics: Sequence[str], isolation: str = "read_committed", partitions: Container[int] = ANY_PARTITION
    ) -> Iterator[Result]:
        """As `read`, but one after the other: those of a partition in the order of their offsets."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.kafka_bootstrap_servers,
                "group.id": f"reader-{uuid4().hex}",
                "isolation.level": isolation,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,  # a consumer learns of a partition's end only when a fetch has waited so long
            }
        )
        try:
            places = [place for place in _all_partitions(consumer, topics) if place.partition in partitions]
            consumer.assign(places)
            yield from _read_to_the_ends(consumer, len(places))
        finally:
            consumer.close()

    def results(self) -> list[Result]:
        """All results of all channels that are readable now."""
        channels = self.settings.by_commands.values()
        return self.read([topic for channel in channels for topic in channel.result_topics])

    async def wait_for_results(self, count: int, seconds: float = 60.0) -> list[Result]:
        """Until at least `count` results are readable; fails with what there was."""
        began = time.monotonic()
        while True:
            looking = time.monotonic()
            results = await asyncio.to_thread(self.results)
            if len(results) >= count:
                return results
            waited, took = time.monotonic() - began, time.monotonic() - looking
            assert waited < seconds, f"{len(results)} of {count} results after {seconds} s\n{self.log_tail()}"
            # Each look reads all results, with a consumer of its own: half of the time at most.
            await asyncio.sleep(max(min(0.05 + waited / 10, 0.5), took))

    def log_tail(self) -> str:
        """The end of every worker's log, for a failure's message."""
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in dict.fromkeys(self.logs))

    def label_of(self, topic: str) -> str:
        """`created`, `overage-required`, `conflict` or `rejected`."""
        channels = self.settings.by_commands.values()
        return {name: label for own in channels for name, label in zip(own.result_topics, LABELS, strict=True)}[topic]

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection to the test's database."""
        return await asyncpg.connect(self.settings.database_url)


def _all_partitions(consumer: Consumer, topics: Sequence[str]) -> list[TopicPartition]:
    # Each topic is asked for alone: the broker has those of all other tests, too.
    known = {topic: consumer.list_topics(topic, timeout=20).topics[topic] for topic in topics}
    return [TopicPartition(topic, partition, 0) for topic in topics for partition in known[topic].partitions]


def _read_to_the_ends(consumer: Consumer, partitions: int) -> Iterator[Result]:
    ended: set[tuple[str, int]] = set()
    deadline = time.monotonic() + 60
    while len(ended) < partitions:
        assert time.monotonic() < deadline, "the topics cannot be read to their ends"
        for message in consumer.consume(1000, 0.02):  # it waits so long for the last of the thousand
            deadline = time.monotonic() + 60
            if message.error() is None:
                yield _result(message)
            else:
                ended.add((message.topic() or "", message.partition() or 0))


def _result(message: Message) -> Result:
    headers = tuple(cast(list[tuple[str, bytes | None]], message.headers() or []))
    return Result(
        message.topic() or "", message.partition() or 0, message.offset() or 0, message.key(), message.value(), headers
    )


def topic_environment(prefix: str, partitions: int) -> dict[str, str]:
    """The settings that name group and topics."""
    return {
        "PASSPORT_GROUP_ID": f"{prefix}-group",
        "PASSPORT_TOPIC_COMMANDS": f"{prefix}.create",
        "PASSPORT_TOPIC_CREATED": f"{prefix}.created",
        "PASSPORT_TOPIC_OVERAGE_REQUIRED": f"{prefix}.overage-required",
        "PASSPORT_TOPIC_CONFLICT": f"{prefix}.conflict",
        "PASSPORT_TOPIC_REJECTED": f"{prefix}.rejected",
        "PASSPORT_TOPIC_PARTITIONS": str(partitions),
    }


@asynccontextmanager
async def furnished_template(server_url: str) -> AsyncIterator[str]:
    """The name of a database that workbenches may be made on copies of, which takes a third of the time."""
    async with fresh_database(server_url) as url:
        await _furnish(url)
        yield urlsplit(url).path[1:]


async def _furnish(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await migrate(connection)
        await ensure_days(connection)
        for number in range(10):
            await add_tenant(connection, tenant(number))
    finally:
        await connection.close()


async def make_workbench(
    bootstrap_servers: str, database_url: str, prefix: str, partitions: int = 2, **environment: str
) -> Workbench:
    """Migrate, load a catalogue of ten tenants without limits, and create topics under `prefix`."""
    await _furnish(database_url)
    return await open_workbench(bootstrap_servers, database_url, prefix, partitions, **environment)


async def open_workbench(
    bootstrap_servers: str, database_url: str, prefix: str, partitions: int = 2, **environment: str
) -> Workbench:
    """Create topics under `prefix`; the database is a copy of `furnished_template`."""
    environment = {
        "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "PASSPORT_DATABASE_URL": database_url,
        **topic_environment(prefix, partitions),
        "PASSPORT_KAFKA_SESSION_TIMEOUT_SECONDS": "3",
        "PASSPORT_HTTP_PORT": "0",
        **environment,
    }
    bench = Workbench(environment, settings_of(environment))
    cluster = Cluster(bench.settings)
    try:
        await create_topics(cluster, bench.settings)
    finally:
        await cluster.close()
    return bench


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Settings as a process with this environment would read them."""
    return Settings(**{name.removeprefix("PASSPORT_").lower(): value for name, value in environment.items()})  # type: ignore[arg-type]


async def add_tenant(
    connection: "asyncpg.Connection[asyncpg.Record]",
    one: Tenant,
    max_dpps: int | None = None,
    overage_price_cents: int | None = None,
    max_writes: int | None = None,
    subscription: str | None = "active",
) -> None:
    """A company with a plan, a key, a template of two fields and a product of its own."""
    await connection.execute(
        "INSERT INTO plan VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET max_dpps = excluded.max_dpps, "
        "overage_price_cents = excluded.overage_price_cents, max_v1_writes_per_day = excluded.max_v1_writes_per_day",
        one.company_id,
        max_dpps,
        overage_price_cents,
        max_writes,
    )
    await connection.execute(
        "INSERT INTO company VALUES ($1, 'Company', $1, $2, '{}') "
        "ON CONFLICT (id) DO UPDATE SET subscription = excluded.subscription",
        one.company_id,
        subscription,
    )
    await connection.execute(
        "INSERT INTO company_usage SELECT number FROM company WHERE id = $1 ON CONFLICT DO NOTHING", one.company_id
    )
    await connection.execute(
        "INSERT INTO api_key VALUES ($1, $2, 'test', NULL) ON CONFLICT DO NOTHING",
        sha256(one.api_key.encode()).digest(),
        one.company_id,
    )
    fields = [{"key": "colour", "dataType": "string", "defaultValue": "blue"}, {"key": "mass", "dataType": "number"}]
    await connection.execute(
        "INSERT INTO template VALUES ($1, 'battery', 1, $2) ON CONFLICT DO NOTHING", one.product_id, json.dumps(fields)
    )
    await connection.execute(
        "INSERT INTO product VALUES ($1, $2, $1, 'Product', 'Model', '{}') ON CONFLICT DO NOTHING",
        one.product_id,
        one.company_id,
    )


async def make_past_day(connection: Connection, parent: str, day: date) -> None:
    """A daily partition as the worker made it when it was time; today the database would refuse the worker that."""
    await connection.execute(
        f"CREATE TABLE {parent}_{day:%Y%m%d} PARTITION OF {parent} "
        f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
    )


def run_command(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of the command line to its end, with no settings but these."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PASSPORT_")}
    return run_forked("worker", arguments, {**clean, **environment}, stdin)


def get(url: str) -> tuple[int, str]:
    """Status and text of an HTTP answer; status 0 while nobody listens or answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except (URLError, TimeoutError) as error:
        return 0, str(error)


async def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)
