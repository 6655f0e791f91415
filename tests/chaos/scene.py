"""The servers, two workers and a third, and the networks between them, each of which a fault may break."""

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.chaos.load import prepare
from tests.infrastructure.kafka import LocalKafka
from tests.infrastructure.kafka_proxy import KafkaProxy
from tests.infrastructure.link import Link
from tests.infrastructure.postgres import local_postgres
from tests.workbench import Workbench, get, make_workbench
from worker.demo.embedded import HOST, EmbeddedPostgres, free_port

STOP_SECONDS = 10.0
"""So long a worker may take to stop, whatever the servers do."""

_GROWN_UP_SECONDS = 8.0
"""A worker that is stopped before may not have come so far as to stop in an orderly way."""


@dataclass
class Member:
    """A worker process, and the networks between it and the servers."""

    name: str
    bench: Workbench
    module: str
    log: Path
    proxy: KafkaProxy
    kafka: Link
    postgres: Link
    http_port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None
    problems: list[str] = field(default_factory=list)
    _since: float = 0.0

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.process is None:
            parts = urlsplit(self.bench.settings.database_url)
            place = f"{parts.username}@{HOST}:{self.postgres.port}"
            self._since = time.monotonic()
            self.process = self.bench.start_worker(
                self.log,
                module=self.module,
                PASSPORT_KAFKA_BOOTSTRAP_SERVERS=self.proxy.address,
                PASSPORT_DATABASE_URL=urlunsplit(parts._replace(netloc=place)),
                PASSPORT_HTTP_PORT=str(self.http_port),
            )

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
    kafka: LocalKafka
    postgres: EmbeddedPostgres
    members: list[Member]
    third: Member
    session_seconds: float
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    def lock(self, what: str) -> asyncio.Lock:
        """Whoever breaks that part holds it until it is whole again, so that two faults do not undo each other."""
        return self._locks.setdefault(what, asyncio.Lock())

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
async def scene(folder: Path, partitions: int, session_seconds: float, module: str) -> AsyncIterator[Scene]:
    """Servers with their data in `folder`, a catalogue, topics, and two workers that have been started.

    Raises `ServerMissing` where a server cannot be had.
    """
    async with AsyncExitStack() as stack:
        kafka, postgres = LocalKafka(folder, proxies=3), local_postgres(folder)
        for server in (kafka, postgres):
            await asyncio.to_thread(server.start)
            stack.push_async_callback(asyncio.to_thread, server.stop)
        bench = await make_workbench(
            kafka.bootstrap_servers,
            postgres.url,
            "chaos",
            partitions,
            PASSPORT_KAFKA_SESSION_TIMEOUT_SECONDS=str(session_seconds),
        )
        await prepare(bench)
        stack.push_async_callback(asyncio.to_thread, bench.kill_workers)
        members: list[Member] = []
        for name, (broker_port, proxy_port) in zip(("first", "second", "third"), kafka.proxied, strict=True):
            to_kafka = await stack.enter_async_context(Link(broker_port))
            to_postgres = await stack.enter_async_context(Link(postgres.port))
            proxy = await stack.enter_async_context(KafkaProxy(proxy_port, to_kafka.port))
            members.append(Member(name, bench, module, folder / f"{name}.log", proxy, to_kafka, to_postgres))
        *two, third = members
        for one in two:
            one.start()
        yield Scene(bench, kafka, postgres, two, third, session_seconds)
