"""The life of a worker: it waits for its servers, joins the group, runs background tasks, and stops."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import stamina
import structlog

from worker.auth.access_tokens import TokenVerifier
from worker.housekeeping import Housekeeping
from worker.messages.away import KAFKA, POSTGRES
from worker.observability.day_log import DayLog
from worker.observability.health import HealthServer
from worker.observability.metrics import Metrics
from worker.observability.minute_log import MinuteLog
from worker.observability.spans import Tracing
from worker.preflight import Check, Preflight, findings
from worker.refusal_watch import RefusalWatch
from worker.store.activity import write_activity, write_company_days
from worker.store.partitions import ensure_days
from worker.store.postgres import PostgresStore
from worker.stream.background import Background, in_own_task
from worker.stream.dependencies import LaneDependencies
from worker.stream.faults import reason_of
from worker.stream.group import GroupMembership
from worker.stream.lane import LaneState
from worker.stream.positions import reason_without_topic

log = structlog.get_logger(__name__)

# `/livez` fails if a lane holds records and has not moved for this long.
STUCK_SECONDS = 120.0
WATCH_SECONDS = 2.0
ACTIVITY_SECONDS = 10.0
REFUSALS_SECONDS = 60.0
# How long lanes and group may take to stop. The rest takes two seconds at most, so that a stop takes less than ten.
STOP_SECONDS = 7.0


@dataclass(frozen=True, slots=True)
class Watchers:
    """The listeners of the line that a worker reads or closes."""

    metrics: Metrics
    minutes: MinuteLog
    days: DayLog
    tracing: Tracing | None


class CannotStart(Exception):
    """A problem that waiting does not solve; the text says what to do."""


class Worker:
    """One worker process: a member of the consumer group with its lanes, health server and housekeeping."""

    def __init__(
        self,
        shared: LaneDependencies,
        store: PostgresStore,
        watchers: Watchers,
        verifier: TokenVerifier | None = None,
    ) -> None:
        """`shared` has the same `store` and `verifier`, and its hooks tell the `watchers`."""
        if not __debug__:
            raise CannotStart("python -O removes checks that aiokafka relies on; run without -O")  # guard B6
        self._shared, self._store, self._tracing = shared, store, watchers.tracing
        self._settings, self._metrics, self._cluster = shared.settings, watchers.metrics, shared.cluster
        self._verifier = verifier
        self._minutes, self._days = watchers.minutes, watchers.days
        self._member = f"{socket.gethostname()}/{uuid4().hex[:12]}"
        self._housekeeping = Housekeeping(shared, store, watchers.metrics)
        self._refusals = RefusalWatch(store, shared.settings.group_id, watchers.metrics)
        self._preflight = Preflight(shared.settings, store, shared.cluster)
        self._membership: GroupMembership | None = None
        # The phase before and after the membership; None while the worker is a member.
        self._phase: str | None = "starting"
        # Servers that do not answer, and why.
        self._away: dict[str, str] = {}
        self._stopping = asyncio.Event()
        self._health = HealthServer(
            self._settings.http_host, self._settings.http_port, self.not_alive, self.not_ready, self._metrics.registry
        )

    # Health

    def not_alive(self) -> list[str]:
        """Name lanes that hold records and have not moved for long, unless they wait for a server or for locks."""
        now = time.monotonic()
        # A restart would not help: somebody's forgotten transaction once had all workers killed again and again.
        if self._away or self._membership is None or now - self._shared.processor.failed_at < STUCK_SECONDS:
            return []
        return [
            f"{self._spoken(lane.partition)}: no progress for {now - lane.progressed_at:.0f} s"
            for lane in self._membership.lanes.values()
            if lane.state is LaneState.RUNNING and lane.inbox.is_busy and now - lane.progressed_at > STUCK_SECONDS
        ]

    def not_ready(self) -> list[str]:
        """Say in words why the worker is not answering commands."""
        problems = [*self._away.values()]
        if self._phase is not None:
            return [self._phase, *problems]
        if self._membership is not None and (gone := self._membership.topic_watch.gone):
            problems = [*map(reason_without_topic, gone), *problems]
            if len(gone) == len(self._settings.channel_names):
                return problems
        # A surplus worker without lanes is ready: it must not hold up a rollout or the drain of a node.
        if self._membership is None or not self._membership.assigned:
            return ["waiting for the group to assign partitions", *problems]
        return problems + [
            f"{self._spoken(topic_partition)} {lane.state.value}: {lane.reason}"
            for topic_partition, lane in sorted(self._membership.lanes.items())
            if lane.state is not LaneState.RUNNING
        ]

    def _spoken(self, partition: tuple[str, int]) -> str:
        """A partition in words, with its topic where the worker reads several."""
        topic, number = partition
        return f"partition {number} of {topic}" if len(self._settings.channel_names) > 1 else f"partition {number}"

    # Life

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or `stop`. Raises `CannotStart`."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.stop)
        try:
            await self._serve()
        finally:
            for name in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(name)

    def stop(self) -> None:
        """Finish the batches in flight, leave the group, and let `run` return."""
        self._stopping.set()

    async def _serve(self) -> None:
        try:
            # Before everything else, so that `/readyz` names the server that the worker waits for.
            await self._health.start()
        except OSError as error:
            raise CannotStart(f"PASSPORT_HTTP_PORT={self._settings.http_port} cannot be used: {error}") from error
        stopping = asyncio.create_task(self._stopping.wait())
        life = asyncio.create_task(self._life())
        try:
            await asyncio.wait({stopping, life}, return_when=asyncio.FIRST_COMPLETED)
            self._phase = "stopping"
            if self._membership is not None:
                self._membership.stop()
                await asyncio.wait({life}, timeout=STOP_SECONDS)
            life.cancel()
            await asyncio.wait({life}, timeout=1.0)
            if life.done() and not life.cancelled():
                life.result()
        finally:
            stopping.cancel()
            closing = [self._cluster.close(), self._store.close(), self._health.close()]
            if self._tracing is not None:
                closing.append(self._tracing.close())
            await asyncio.gather(*closing)
            log.info("stopped")

    async def _life(self) -> None:
        await self._prepare()
        background = Background()
        background.start("watch-servers", self._watch_servers)
        if self._verifier is not None:
            background.start("watch-keys", self._verifier.watch)
        # Errors of these three say that a server is away, which `watch-servers` reports.
        background.start("ask-silent-brokers", lambda: _every(WATCH_SECONDS, self._cluster.ask_silent_brokers))
        background.start("activity", lambda: _every(ACTIVITY_SECONDS, self._write_activity))
        background.start("refusals", lambda: _every(REFUSALS_SECONDS, self._refusals.look))
        background.start("housekeeping", self._housekeeping.run)
        try:
            await self._be_member()
        finally:
            background.stop()
            with suppress(Exception):  # a stop does not wait long to write the counts of the last seconds
                async with asyncio.timeout(1.0):
                    await self._write_activity()

    async def _prepare(self) -> None:
        """Wait for both servers, and check that they are ready for a worker."""
        await self._check(self._preflight.of_settings)
        async for attempt in _patiently():
            with attempt:
                try:
                    await in_own_task(self._check_servers())
                except CannotStart:
                    raise
                except Exception as error:
                    reason = reason_of(error, self._settings)
                    self._phase = f"waiting for servers: {reason}"
                    log.warning("waiting_for_servers", error=reason)
                    raise

    async def _check_servers(self) -> None:
        with self._metrics.asking("postgres"):
            await self._check(self._preflight.of_postgres)
            async with self._store.session() as connection:
                await ensure_days(connection)
        with self._metrics.asking("kafka"):
            try:
                await self._check(self._preflight.of_kafka)
            except Exception as error:
                if not isinstance(error, CannotStart):
                    await self._cluster.close()  # the next attempt connects again
                raise

    async def _check(self, checks: Sequence[Check]) -> None:
        """Log unusual findings. Raises `CannotStart` with all fatal ones."""
        results = await findings(checks)
        for result in results:
            if result.status == "warning":
                log.warning("unusual", check=result.id, finding=result.finding, advice=result.advice)
        if fatal := [str(result) for result in results if result.is_fatal]:
            raise CannotStart(" ".join(fatal))

    async def _be_member(self) -> None:
        """Be a member of the group until `stop`, and join again if a membership ends earlier."""
        async for attempt in _patiently():
            with attempt:
                # A stop may have ended the membership. Without this check, the worker would join the group again.
                if self._stopping.is_set():
                    return
                self._phase = None
                self._membership = GroupMembership(self._shared)
                try:
                    # In its own task: a stray cancellation of aiokafka (guard B19) would end the worker.
                    await in_own_task(self._membership.run())
                except Exception as error:
                    reason = reason_of(error, self._settings)
                    self._phase = f"joining the group again: {reason}"
                    log.warning("membership_ended", error=reason)
                    raise

    # Background

    async def _watch_servers(self) -> None:
        """Ask both servers now and then, so that `/readyz` is right while no command comes."""
        while True:
            await self._ping(POSTGRES.name, self._store.ping())
            await self._ping(KAFKA.name, self._cluster.ping())
            await asyncio.sleep(WATCH_SECONDS)

    async def _ping(self, server: str, ping: Coroutine[Any, Any, None]) -> None:
        try:
            with self._metrics.asking(server.lower()):
                async with asyncio.timeout(5.0):
                    await ping
            if self._away.pop(server, None) is not None:
                log.info("server_is_back", server=server)
        except Exception as error:
            reason = reason_of(error, self._settings, of_kafka=server == KAFKA.name)
            if server not in self._away:
                log.warning("server_is_away", server=server, error=reason)
            self._away[server] = reason

    async def _write_activity(self) -> None:
        """Write the counts of the last minutes and of the day for operators. They are kept while Postgres is away."""
        if minutes := self._minutes.unwritten():
            days = self._days.unwritten()
            async with self._store.session() as connection:
                await write_activity(connection, self._settings.group_id, self._member, minutes)
                await write_company_days(connection, self._settings.group_id, self._member, days)
            self._minutes.note_written(minutes)
            self._days.note_written(days)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do some work again and again, whether it fails or not."""
    while True:
        await asyncio.sleep(seconds)
        with suppress(Exception):
            await work()


def _patiently() -> AsyncIterator[stamina.Attempt]:
    return stamina.retry_context(
        on=_may_pass, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0, wait_jitter=0.5
    )


def _may_pass(error: BaseException) -> bool:
    # stamina asks about a CancelledError, too, and would try again.
    return isinstance(error, Exception) and not isinstance(error, CannotStart)
