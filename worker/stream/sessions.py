"""The sessions of one assignment: all lanes in one, but those whose work keeps failing, which are opened apart."""

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress

import structlog

from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.fencing import fence
from worker.stream.lane import Lane, LaneState
from worker.stream.producer import Doubt, EmissionFailed
from worker.stream.session import Member, Session

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 3.0
"""How long a turn gets to end; then it is cut off, and the ledger settles what is in doubt."""
FENCE_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0
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
        self.tasks: list[asyncio.Task[None]] = []
        """One a set of lanes; none of them ends before `close`."""
        if lanes:
            self._serve(sorted(lanes, key=lambda lane: lane.name.partition))

    def _serve(self, lanes: Sequence[Lane]) -> None:
        name = f"lanes {', '.join(str(lane.name.partition) for lane in lanes)}"
        self.tasks.append(asyncio.create_task(self._keep_open(lanes), name=name))

    async def _keep_open(self, lanes: Sequence[Lane]) -> None:
        """One session after the other, with growing pauses while they fail at once."""
        backoff = _Backoff()
        while not self._closing.is_set():
            async with self._session(lanes) as session:
                lanes = await self._live(session, lanes, backoff)

    @asynccontextmanager
    async def _session(self, lanes: Sequence[Lane]) -> AsyncIterator[Session]:
        session = Session(lanes, self._member, self._shared, self._consumer)
        self._open.add(session)
        try:
            yield session
        finally:
            self._open.discard(session)
            if session.is_in_doubt:
                self._cut_off.append(session.id)
            await session.close_producer()

    async def _live(self, session: Session, lanes: Sequence[Lane], backoff: "_Backoff") -> Sequence[Lane]:
        """Until closed, or another session has to go on; its lanes."""
        left = lanes
        while not self._closing.is_set() and left is lanes:
            try:
                await session.live()
            except Exception as error:
                for lane in lanes:
                    if lane.state not in (LaneState.HALTED, LaneState.LOST):
                        lane.reopen(f"{type(error).__name__}: {error}")
                backoff.note(error, session.has_advanced)
                left = self._open_suspects_apart(lanes, error, backoff.failures)
                await self._closes_within(backoff.pause())
                if session.is_spent:
                    break
        return left

    def _open_suspects_apart(self, lanes: Sequence[Lane], error: Exception, failures: int) -> Sequence[Lane]:
        """Those that are left. A lane by itself rejoins the others at the next rebalance."""
        named = error.suspects if isinstance(error, Doubt) else frozenset()
        suspects = [lane for lane in lanes if lane.name.partition in named]
        if 0 < len(suspects) < len(lanes):
            for lane in suspects:
                self._serve([lane])
        elif isinstance(error, EmissionFailed) and not named and failures % FAILURES_TO_HALVE == 0 and len(lanes) > 1:
            suspects = list(lanes[len(lanes) // 2 :])
            self._serve(suspects)
        else:
            return lanes
        log.warning("lanes_opened_apart", partitions=[lane.name.partition for lane in suspects])
        return [lane for lane in lanes if lane not in suspects]

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


class _Backoff:
    """How long to wait after a failure, and how many transactions in a row have failed."""

    def __init__(self) -> None:
        self._seconds = FIRST_PAUSE_SECONDS
        self.failures = 0

    def note(self, error: Exception, has_advanced: bool) -> None:
        """A session has failed; whatever got on before that begins afresh."""
        if has_advanced:
            self._seconds, self.failures = FIRST_PAUSE_SECONDS, 0
        self.failures += isinstance(error, EmissionFailed)

    def pause(self) -> float:
        """Seconds, with some chance in them, since other workers may have failed at the same moment."""
        seconds = self._seconds
        self._seconds = min(2 * seconds, LONGEST_PAUSE_SECONDS)
        return seconds * random.uniform(1.0, 1.5)
