"""The life of a worker: start, be a member of the group, keep house, stop."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import stamina
import structlog

from worker.auth.access_tokens import TokenVerifier
from worker.observability.certificates import expiries
from worker.observability.health import HealthServer
from worker.observability.metrics import Metrics
from worker.observability.minute_log import MinuteLog
from worker.observability.spans import Tracing
from worker.preflight import Check, Preflight, findings
from worker.store.activity import write_activity
from worker.store.clocks import AGREED_SECONDS, clock_ahead, clock_difference
from worker.store.partitions import drop_old_days, ensure_days, ledger_end
from worker.store.postgres import PostgresStore
from worker.stream.background import Background, in_own_task
from worker.stream.dependencies import LaneDependencies
from worker.stream.group import GroupMembership
from worker.stream.lane import LaneState
from worker.stream.log_clock import LogClock
from worker.stream.positions import reason_without_topic

log = structlog.get_logger(__name__)

STUCK_SECONDS = 120.0
WATCH_SECONDS = 2.0
HOUSEKEEPING_SECONDS = 600.0
STOP_SECONDS = 7.0
"""For the lanes and the group; what follows takes some two seconds at most, and a stop less than ten in all."""


ACTIVITY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Watchers:
    """Who is told of the line, and asked by a worker for what it has seen."""

    metrics: Metrics
    minutes: MinuteLog
    tracing: Tracing | None


class CannotStart(Exception):
    """Something that waiting will not mend; the text says what to do."""


class Worker:
    """One worker process: a member of the consumer group with its lanes, health server and housekeeping."""

    def __init__(
        self,
        shared: LaneDependencies,
        store: PostgresStore,
        watchers: Watchers,
        verifier: TokenVerifier | None = None,
    ) -> None:
        """`shared` is what its lanes work with; `store` and `verifier` are theirs, too, and `watchers` watch them."""
        if not __debug__:
            raise CannotStart("python -O removes checks that aiokafka relies on; run without -O")  # guard B6
        self._shared, self._store, self._tracing = shared, store, watchers.tracing
        self._settings, self._metrics, self._cluster = shared.settings, watchers.metrics, shared.cluster
        self._verifier = verifier
        self._minutes, self._member = watchers.minutes, f"{socket.gethostname()}/{uuid4().hex[:12]}"
        self._log_clock = LogClock(shared.cluster, shared.settings.topic_commands)
        self._preflight = Preflight(shared.settings, store, shared.cluster)
        self._membership: GroupMembership | None = None
        self._phase: str | None = "starting"
        self._away: dict[str, str] = {}
        self._stopping = asyncio.Event()
        self._health = HealthServer(
            self._settings.http_host, self._settings.http_port, self.not_alive, self.not_ready, self._metrics.registry
        )

    # Health

    def not_alive(self) -> list[str]:
        """Lanes that hold records and have not moved for long, though nothing they wait for is known to be away."""
        if self._away or self._membership is None:
            return []
        now = time.monotonic()
        return [
            f"partition {place.partition}: no progress for {now - lane.progressed_at:.0f} s"
            for place, lane in self._membership.lanes.items()
            if lane.state is LaneState.RUNNING and lane.inbox.is_busy and now - lane.progressed_at > STUCK_SECONDS
        ]

    def not_ready(self) -> list[str]:
        """Why the worker is not answering commands, in words."""
        problems = [f"{server} is away: {reason}" for server, reason in self._away.items()]
        if self._phase is not None:
            return [self._phase, *problems]
        if self._membership is not None and self._membership.topic_watch.is_gone:
            return [reason_without_topic(self._settings.topic_commands), *problems]
        if self._membership is None or not self._membership.assigned:
            return ["waiting for the group to assign partitions", *problems]
        lanes = sorted(self._membership.lanes.items())
        return problems + [
            f"partition {place.partition} {lane.state.value}: {lane.reason}"
            for place, lane in lanes
            if lane.state is not LaneState.RUNNING
        ]

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
        background.start("ask-silent-brokers", self._ask_silent_brokers)
        background.start("housekeeping", self._maintain_partitions)
        background.start("activity", self._write_activity)
        try:
            await self._be_member()
        finally:
            background.stop()
            with suppress(Exception):  # Postgres is away, or slow: nobody waits for the last seconds
                async with asyncio.timeout(1.0):
                    await self._tell_activity()

    async def _prepare(self) -> None:
        """Wait for both servers, and check that all is as it must be."""
        await self._check(self._preflight.of_settings)
        async for attempt in _patiently():
            with attempt:
                try:
                    await in_own_task(self._check_servers())
                except CannotStart:
                    raise
                except Exception as error:
                    self._phase = f"waiting for servers: {type(error).__name__}: {error}"
                    log.warning("waiting_for_servers", error=f"{type(error).__name__}: {error}")
                    raise

    async def _check_servers(self) -> None:
        with self._metrics.asking("postgres"):
            await self._check(self._preflight.of_postgres)
            async with self._store.session() as connection:
                await ensure_days(connection)
        with self._metrics.asking("kafka"):
            try:
                await self._check(self._preflight.of_kafka)
            except CannotStart:
                raise
            except Exception:
                await self._cluster.close()
                raise

    async def _check(self, checks: Sequence[Check]) -> None:
        """Log what is only unusual. Raises `CannotStart` with all that is fatal."""
        found = await findings(checks)
        for one in found:
            if one.status == "warning":
                log.warning("unusual", check=one.id, finding=one.finding, advice=one.advice)
        if fatal := [str(one) for one in found if one.is_fatal]:
            raise CannotStart(" ".join(fatal))

    async def _be_member(self) -> None:
        """Be in the group; when the membership ends otherwise than by `stop`, begin another."""
        async for attempt in _patiently():
            with attempt:
                if self._stopping.is_set():
                    return
                self._phase = None
                self._membership = GroupMembership(self._shared)
                try:
                    await in_own_task(self._membership.run())
                except Exception as error:
                    self._phase = f"joining the group again after {type(error).__name__}: {error}"
                    log.warning("membership_ended", error=f"{type(error).__name__}: {error}")
                    raise

    async def _watch_servers(self) -> None:
        """Know, for `/readyz`, whether the servers answer, also while no command comes."""
        while True:
            await self._ask("Postgres", self._store.ping())
            await self._ask("Kafka", self._cluster.ping())
            await asyncio.sleep(WATCH_SECONDS)

    async def _ask_silent_brokers(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            with suppress(Exception):  # Kafka as a whole is away, which is said elsewhere
                await self._cluster.ask_silent_brokers()

    async def _ask(self, server: str, question: Coroutine[Any, Any, None]) -> None:
        try:
            with self._metrics.asking(server.lower()):
                async with asyncio.timeout(5.0):
                    await question
            if self._away.pop(server, None) is not None:
                log.info("server_is_back", server=server)
        except Exception as error:
            if server not in self._away:
                log.warning("server_is_away", server=server, error=f"{type(error).__name__}: {error}")
            self._away[server] = f"{type(error).__name__}: {error}"

    async def _maintain_partitions(self) -> None:
        """Create the ledger's days ahead, and drop those past the retention while the clocks agree."""
        self._metrics.partitions_maintained.set_to_current_time()  # the days ahead were made before
        with suppress(Exception):  # both servers are asked again before anything is dropped
            await self._clocks_agree()
        while True:
            await self._look_ahead()
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            try:
                async with self._store.session() as connection:
                    await ensure_days(connection)
                dropped = await self._drop_old_days() if await self._clocks_agree() else []
                self._metrics.partitions_maintained.set_to_current_time()
                if dropped:
                    log.info("ledger_days_dropped", days=dropped)
            except Exception as error:  # next time; the days are made ahead so that it may fail for long
                log.warning("housekeeping_failed", error=f"{type(error).__name__}: {error}")

    async def _drop_old_days(self) -> list[str]:
        async with self._store.session() as connection:
            return await drop_old_days(connection, self._settings.retention_days)

    async def _clocks_agree(self) -> bool:
        """Whether the clocks of Postgres, of this worker and of the newest command's broker differ by an hour at most.

        A day that is dropped by a wrong clock cannot come back, and one that stays costs only disk. While Kafka is away
        the other two decide; so they do where producers set the time of their records. Raises what Postgres does.
        """
        newest = None
        with suppress(Exception):  # Kafka is away, which is said elsewhere
            if not self._settings.allow_producer_time:
                newest = await self._log_clock.look()
        async with self._store.session() as connection:
            ahead = await clock_ahead(connection)
        now = time.time()
        difference = clock_difference(now, now + ahead, newest)
        self._metrics.clock_difference.set(difference)
        if difference <= AGREED_SECONDS:
            return True
        log.warning(
            "clocks_differ",
            seconds=round(difference),
            postgres_ahead=round(ahead),
            newest_record_ahead=None if newest is None else round(newest.appended - now),
        )
        return False

    async def _write_activity(self) -> None:
        """What people see of the last minutes, beside the turns."""
        while True:
            await asyncio.sleep(ACTIVITY_SECONDS)
            with suppress(Exception):  # Postgres is away, which is said elsewhere; the minutes are kept meanwhile
                await self._tell_activity()

    async def _tell_activity(self) -> None:
        if minutes := self._minutes.untold():
            async with self._store.session() as connection:
                await write_activity(connection, self._settings.group_id, self._member, minutes)
            self._minutes.told(minutes)

    async def _look_ahead(self) -> None:
        """Note what will end one day: the days of the ledger, and certificates. A time stays true while none looks."""
        for certificate, ends in expiries(self._settings):
            self._metrics.certificate_expires.labels(certificate).set(ends)
        with suppress(Exception):  # Postgres is away, which is said elsewhere
            async with self._store.session() as connection:
                self._metrics.ledger_ends.set(await ledger_end(connection))


def _patiently() -> AsyncIterator[stamina.Attempt]:
    return stamina.retry_context(
        on=_may_pass, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0, wait_jitter=0.5
    )


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, Exception) and not isinstance(error, CannotStart)
