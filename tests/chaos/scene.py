"""The servers, two workers and a third, and the networks between them, each of which a fault may break."""

import asyncio
import math
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import urlsplit, urlunsplit

from tests.chaos.load import prepare
from tests.infrastructure.link import Link
from tests.infrastructure.postgres import local_postgres
from tests.infrastructure.three_brokers import NODES, OFFSETS, TRANSACTIONS, Network, ThreeBrokers
from tests.workbench import REPOSITORY, Workbench, get, make_workbench
from worker.tools.demo.embedded import HOST, EmbeddedPostgres, free_port

STOP_SECONDS = 10.0
"""So long a worker may take to stop, whatever the servers do."""

_GROWN_UP_SECONDS = 8.0
"""A worker that is stopped before may not have come so far as to stop in an orderly way."""


_SMALL_BATCHES = 0.3
"""How many of the starts are with batches of 2 to 50 records."""


@dataclass
class Member:
    """A worker process, and the networks between it and the servers.

    Each start is from the next of its `trees`: the folders of the versions that take turns.
    """

    name: str
    bench: Workbench
    module: str
    log: Path
    kafka: Network
    postgres: Link
    dice: Random
    trees: Sequence[Path] = (REPOSITORY,)
    first_tree: int = 0
    starts: Counter[Path] = field(default_factory=Counter)
    http_port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None
    problems: list[str] = field(default_factory=list)
    small_batches: int | None = None
    _since: float = 0.0

    def start(self, *, may_have_small_batches: bool = True) -> None:
        """Start it, unless it runs. Now and then its batches are small, so that much lies between two of them."""
        if self.process is None:
            self.small_batches = None
            if may_have_small_batches and self.dice.random() < _SMALL_BATCHES:
                self.small_batches = round(math.exp(self.dice.uniform(math.log(2), math.log(50))))
            parts = urlsplit(self.bench.settings.database_url)
            place = f"{parts.username}@{HOST}:{self.postgres.port}"
            self._since = time.monotonic()
            tree = self.trees[(self.first_tree + self.starts.total()) % len(self.trees)]
            self.starts[tree] += 1
            self.process = self.bench.start_worker(
                self.log,
                module=self.module,
                tree=str(tree),
                PASSPORT_KAFKA_BOOTSTRAP_SERVERS=self.kafka.addresses,
                PASSPORT_DATABASE_URL=urlunsplit(parts._replace(netloc=place)),
                PASSPORT_HTTP_PORT=str(self.http_port),
                PASSPORT_BATCH_RECORDS=str(self.small_batches or self.bench.settings.batch_records),
            )

    async def enlarge_batches(self) -> None:
        """Start it anew where its batches are small: a backlog would take too long."""
        if self.process is not None and self.small_batches is not None:
            await self.stop()
            self.start(may_have_small_batches=False)

    async def kill(self) -> None:
        """SIGKILL; safe when it does not run."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.wait, 10)

    async def stop(self) -> None:
        """SIGTERM; what is wrong with how it ends is noted."""
        process = self.process
        if process is None:
            return
        self.process = None
        was_young = time.monotonic() - self._since < _GROWN_UP_SECONDS
        process.send_signal(signal.SIGTERM)
        try:
            code = await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.problems.append(f"{self.name} did not stop within {STOP_SECONDS:.0f} s")
            process.kill()
            return
        if code != 0 and not (was_young and code == -signal.SIGTERM):
            self.problems.append(f"{self.name} was stopped and ended with {code}")

    def signal(self, how: signal.Signals) -> None:
        """Send a signal; safe when it does not run."""
        if self.process is not None:
            self.process.send_signal(how)

    def check(self) -> None:
        """Note when it has ended by itself, and start it anew."""
        if self.process is not None and (code := self.process.poll()) is not None:
            self.problems.append(f"{self.name} ended by itself with {code}")
            self.process = None
            self.start()

    def not_ready(self) -> str:
        """What `/readyz` says."""
        if self.process is None:
            return "does not run"
        return get(f"http://{HOST}:{self.http_port}/readyz")[1].strip() or "no answer"


@dataclass
class Scene:
    """All that faults happen to. `members` are the two that always run, `third` comes and goes."""

    bench: Workbench
    kafka: ThreeBrokers
    postgres: EmbeddedPostgres
    members: list[Member]
    third: Member
    session_seconds: float
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    def lock(self, what: str) -> asyncio.Lock:
        """Whoever breaks that part holds it until it is whole again, so that two faults do not undo each other."""
        return self._locks.setdefault(what, asyncio.Lock())

    @property
    def topics(self) -> tuple[str, ...]:
        """Those of the workers; the last two are Kafka's own, whose leaders are the coordinators."""
        return (*self.bench.settings.topics_of_channels, OFFSETS, TRANSACTIONS)

    @property
    def everybody(self) -> list[Member]:
        """All three."""
        return [*self.members, self.third]

    def problems(self) -> list[str]:
        """What was wrong with how workers ended."""
        for one in self.everybody:
            one.check()
        return [problem for one in self.everybody for problem in one.problems]


@asynccontextmanager
async def scene(
    folder: Path,
    partitions: int,
    channels: int,
    session_seconds: float,
    module: str,
    seed: int,
    trees: Sequence[Path] = (REPOSITORY,),
    nodes: Sequence[int] = NODES,
) -> AsyncIterator[Scene]:
    """Servers with their data in `folder`, a catalogue, topics, and two workers that have been started.

    Kafka has these `nodes`.
    The default channel has all `partitions`; the others have fewer, each another number. Raises `ServerMissing` where a
    server cannot be had.
    """
    names = ("first", "second", "third")
    async with AsyncExitStack() as stack:
        kafka, postgres = ThreeBrokers(folder, workers=len(names), nodes=nodes), local_postgres(folder)
        stack.push_async_callback(asyncio.to_thread, kafka.kill)
        await asyncio.to_thread(kafka.start)
        await asyncio.to_thread(postgres.start)
        stack.push_async_callback(asyncio.to_thread, postgres.stop)
        bench = await make_workbench(
            kafka.bootstrap_servers,
            postgres.url,
            "chaos",
            partitions,
            PASSPORT_KAFKA_SESSION_TIMEOUT_SECONDS=str(session_seconds),
            PASSPORT_TOPIC_REPLICATION=str(len(nodes)),
        )
        for number in range(1, channels):
            await bench.add_channel(f"channel-{number}", max(1, partitions // (number + 1)))
        await prepare(bench)
        stack.push_async_callback(asyncio.to_thread, bench.kill_workers)
        members: list[Member] = []
        for number, name in enumerate(names):
            network = await stack.enter_async_context(kafka.network(number))
            to_postgres = await stack.enter_async_context(Link(postgres.port))
            dice = Random(f"{seed}-{name}")
            log = folder / f"{name}.log"
            members.append(Member(name, bench, module, log, network, to_postgres, dice, trees, number))
        *two, third = members
        for member in two:
            member.start()
        yield Scene(bench, kafka, postgres, two, third, session_seconds)
