"""The sessions of one assignment: all lanes in one, but those whose work fails, which are opened apart for a while."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import structlog

from worker.stream.cluster.connection import CLUSTER_ERRORS
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.fencing import fence
from worker.stream.lane import Lane, LaneState
from worker.stream.producer import Doubt, EmissionFailed
from worker.stream.session import Member, Session

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 3.0
"""How long a turn gets to end; then it is cut off, and the ledger settles what is in doubt."""
PRODUCERS_CLOSE_SECONDS = 1.0
"""How long their producers then get to let go of connections."""
FENCE_SECONDS = 1.0
IDS_TRIED = 5
"""How many transactional ids a new session may try to find one whose coordinator answers."""
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0
REJOIN_SECONDS = 30.0
"""How long lanes apart, and those in the main session, work without a failure before they are opened together again;
twice as long each time that a lane was opened apart."""
MOST_DOUBLINGS = 6
FAILURES_TO_HALVE = 3
"""So many transactions in a row that failed without a suspect: one half of the lanes is then opened apart."""


class Sessions:
    """Keeps a session open for all lanes of an assignment, until it is closed."""

    def __init__(self, lanes: Collection[Lane], member: Member, shared: LaneDependencies, consumer: Consumer) -> None:
        self._lanes, self._member, self._shared, self._consumer = lanes, member, shared, consumer
        self._open: set[Session] = set()
        self._cut_off: list[str] = []
        """Ids of sessions that ended in the middle of a transaction."""
        self._closing = asyncio.Event()
        self._producers: set[asyncio.Task[None]] = set()
        """Those of ended sessions that are being closed. Nobody waits for them: one broker may be silent."""
        self._main = _Main(sorted(lanes, key=lambda lane: lane.name.partition))
        self._times_apart = Counter[Lane]()
        self.tasks: list[asyncio.Task[None]] = []
        """One a set of lanes; none of them ends before `close`, but those whose lanes have rejoined the others."""
        if lanes:
            self._serve(self._main.lanes, self._keep_open())

    def _serve(self, lanes: Sequence[Lane], work: Coroutine[Any, Any, None]) -> None:
        name = f"lanes {', '.join(str(lane.name.partition) for lane in lanes)}"
        self.tasks.append(asyncio.create_task(work, name=name))

    async def _keep_open(self) -> None:
        """The main session: one after the other, with growing pauses while they fail at once."""
        backoff, main = _Backoff(), self._main
        while not self._closing.is_set():
            async with self._session(main.lanes) as session:
                main.session = session
                await self._live(session, main.lanes, backoff)

    async def _keep_open_apart(self, lanes: list[Lane]) -> None:
        """The same for lanes apart, until they have worked well for a while; then the main session opens them."""
        backoff, is_well = _Backoff(), False
        while not is_well:
            if self._closing.is_set():
                return
            async with self._session(lanes) as session:
                closing = asyncio.create_task(self._close_when_well(session, lanes, backoff))
                try:
                    lanes = await self._live(session, lanes, backoff)
                    is_well = closing.done() and not self._closing.is_set()
                finally:
                    closing.cancel()
        task = asyncio.current_task()
        self.tasks = [one for one in self.tasks if one is not task]
        log.info("lanes_rejoin", partitions=[lane.name.partition for lane in lanes])
        for lane in lanes:
            lane.reopen("having worked apart")
        self._main.adopt(lanes)

    async def _close_when_well(self, session: Session, lanes: Sequence[Lane], backoff: "_Backoff") -> None:
        times = max(self._times_apart[lane] for lane in lanes)
        seconds = REJOIN_SECONDS * 2 ** min(times - 1, MOST_DOUBLINGS)
        began = time.monotonic()
        while True:
            await asyncio.sleep(seconds / 10)
            well_since = max(began, backoff.failed_at, self._main.failed_at)
            if time.monotonic() - well_since >= seconds and all(lane.is_at_work for lane in lanes):
                session.close()
                return

    @asynccontextmanager
    async def _session(self, lanes: list[Lane]) -> AsyncIterator[Session]:
        session = Session(await self._new_id(), lanes, self._member, self._shared, self._consumer)
        self._open.add(session)
        try:
            yield session
        finally:
            self._open.discard(session)
            if session.is_in_doubt:
                self._cut_off.append(session.id)
            closing = asyncio.create_task(self._close_producer(session), name=f"close {session.id}")
            self._producers.add(closing)
            closing.add_done_callback(self._producers.discard)

    async def _close_producer(self, session: Session) -> None:
        await session.end_sending()
        self._shared.ended_producers.add(session.id)
        await session.close_producer()

    async def _new_id(self) -> str:
        """A transactional id that nobody had before. Its coordinator is not a broker that is known to be silent."""
        settings, cluster = self._shared.settings, self._shared.cluster
        for _ in range(IDS_TRIED):
            new = f"{settings.group_id}.{settings.topic_commands}.{uuid4().hex}"
            with suppress(*CLUSTER_ERRORS):
                if await cluster.is_coordinated(new):
                    break
        return new

    async def _live(self, session: Session, lanes: list[Lane], backoff: "_Backoff") -> list[Lane]:
        """Until closed, or another session has to go on; its lanes."""
        left = lanes
        while not self._closing.is_set() and left is lanes:
            try:
                await session.live()
                break
            except Exception as error:
                for lane in lanes:
                    if lane.state not in (LaneState.HALTED, LaneState.LOST):
                        lane.reopen(f"{type(error).__name__}: {error}")
                backoff.note(error, session.has_advanced)
                left = self._open_suspects_apart(lanes, error, backoff.failures)
                if lanes is self._main.lanes:  # before any await: others may rejoin
                    self._main.lanes, self._main.failed_at = left, backoff.failed_at
                await self._closes_within(backoff.pause())
                if session.is_spent:
                    break
        return left

    def _open_suspects_apart(self, lanes: list[Lane], error: Exception, failures: int) -> list[Lane]:
        """Those that are left."""
        named = error.suspects if isinstance(error, Doubt) else frozenset()
        suspects = [lane for lane in lanes if lane.name.partition in named]
        if 0 < len(suspects) < len(lanes):
            for lane in suspects:
                self._serve_apart([lane])
        elif isinstance(error, EmissionFailed) and not named and failures % FAILURES_TO_HALVE == 0 and len(lanes) > 1:
            suspects = list(lanes[len(lanes) // 2 :])
            self._serve_apart(suspects)
        else:
            return lanes
        log.warning("lanes_opened_apart", partitions=[lane.name.partition for lane in suspects])
        return [lane for lane in lanes if lane not in suspects]

    def _serve_apart(self, lanes: list[Lane]) -> None:
        self._times_apart.update(lanes)
        self._serve(lanes, self._keep_open_apart(lanes))

    async def _closes_within(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def close(self) -> None:
        """Let turns in flight end, for a bounded time. Whoever opens the lanes next fences what is left."""
        self._closing.set()
        for session in self._open:
            session.close()
        if self.tasks:
            _, late = await asyncio.wait(self.tasks, timeout=CLOSE_SECONDS)
            if late:
                log.warning("lanes_cut_off", lanes=sorted(task.get_name() for task in late))
                for task in late:
                    task.cancel()
                await asyncio.wait(late, timeout=1.0)
        if self._producers:
            await asyncio.wait(self._producers, timeout=PRODUCERS_CLOSE_SECONDS)
        for lane in self._lanes:
            lane.close()

    async def fence_cut_off(self) -> None:
        """At the end of the worker, when perhaps nobody opens its lanes for long.

        Readers of the result topics would wait for the broker's own timeout.
        """
        fences = [fence(self._shared.cluster, self._shared.settings, one) for one in self._cut_off]
        with suppress(Exception):
            async with asyncio.timeout(FENCE_SECONDS):
                await asyncio.gather(*fences)


@dataclass(slots=True)
class _Main:
    """The session that has all lanes but those apart. The session and its opening share the list of its lanes."""

    lanes: list[Lane]
    session: Session | None = None
    failed_at: float = 0.0

    def adopt(self, lanes: Sequence[Lane]) -> None:
        """These lanes are opened together with the others from now on."""
        self.lanes.extend(lanes)
        if self.session is not None:
            self.session.adopt(lanes)


class _Backoff:
    """How long to wait after a failure, and how many transactions in a row have failed."""

    def __init__(self) -> None:
        self._seconds = FIRST_PAUSE_SECONDS
        self.failures = 0
        self.failed_at = 0.0

    def note(self, error: Exception, has_advanced: bool) -> None:
        """A session has failed; whatever got on before that begins afresh."""
        if has_advanced:
            self._seconds, self.failures = FIRST_PAUSE_SECONDS, 0
        self.failures += isinstance(error, EmissionFailed)
        self.failed_at = time.monotonic()

    def pause(self) -> float:
        """Seconds, with some chance in them, since other workers may have failed at the same moment."""
        seconds = self._seconds
        self._seconds = min(2 * seconds, LONGEST_PAUSE_SECONDS)
        return seconds * random.uniform(1.0, 1.5)
