"""The sessions of one assignment: one for all lanes, and others for suspects, which are opened apart."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

import structlog

from worker.store.port import Owner
from worker.stream.background import is_set_within
from worker.stream.cluster.connection import CLUSTER_ERRORS
from worker.stream.cluster.leaders import name_of
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.faults import reason_of
from worker.stream.fencing import fence
from worker.stream.lane import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Lane, LaneState
from worker.stream.producer import Doubt, EmissionFailed
from worker.stream.session import Session

log = structlog.get_logger(__name__)

# How long a turn may take to end when the assignment ends. Then it is cut off, and the next owner reads the ledger.
CLOSE_SECONDS = 3.0
# How long producers may then take to close their connections.
PRODUCERS_CLOSE_SECONDS = 1.0
FENCE_SECONDS = 1.0
# How many transactional ids a new session tries, to find one whose coordinator answers.
IDS_TRIED = 5
# Lanes apart rejoin the others when both have worked this long without a failure, twice as long each further time.
REJOIN_SECONDS = 30.0
MAX_DOUBLINGS = 6
# After this many transactions in a row that failed without a suspect, one half of the lanes is opened apart.
FAILURES_TO_HALVE = 3


@dataclass(slots=True, eq=False)
class _Share:
    """Lanes that one session after another serves. The session and its opening hold the same list, which may grow."""

    lanes: list[Lane]
    session: Session | None = None
    # Failed transactions in a row, when a session failed last, and for how long the next failure pauses.
    failures: int = 0
    failed_at: float = 0.0
    pause_seconds: float = FIRST_PAUSE_SECONDS

    def note_failure(self, error: Exception, has_committed: bool) -> None:
        """Count the failure of a session. A committed transaction in between resets the count and the pauses."""
        if has_committed:
            self.pause_seconds, self.failures = FIRST_PAUSE_SECONDS, 0
        self.failures += isinstance(error, EmissionFailed)
        self.failed_at = time.monotonic()

    def pause(self) -> float:
        """Seconds to wait, with some jitter, since other workers may have failed at the same moment."""
        seconds = self.pause_seconds
        self.pause_seconds = min(2 * seconds, LONGEST_PAUSE_SECONDS)
        return seconds * random.uniform(1.0, 1.5)


class Sessions:
    """Keeps all lanes of an assignment in open sessions, until it is closed."""

    def __init__(
        self, lanes: Collection[Lane], generation: int, member: str, shared: LaneDependencies, consumer: Consumer
    ) -> None:
        """`member` is this worker's id in the `generation` of the group that assigned the lanes."""
        self._lanes, self._generation, self._member = lanes, generation, member
        self._shared, self._consumer = shared, consumer
        self._open: set[Session] = set()
        # Ids of sessions that ended in the middle of a transaction.
        self._cut_off: list[str] = []
        self._closing = asyncio.Event()
        # Tasks that close producers of ended sessions. New sessions do not wait for them: a broker may be silent.
        self._producers: set[asyncio.Task[None]] = set()
        self._main = _Share(sorted(lanes, key=lambda lane: lane.partition))
        self._times_apart = Counter[Lane]()
        # A task for each share. It ends before `close` only if its lanes have rejoined the main ones.
        self.tasks: list[asyncio.Task[None]] = []
        if lanes:
            self._begin(self._main)

    def _begin(self, share: _Share) -> None:
        name = f"lanes {', '.join(name_of(lane.partition) for lane in share.lanes)}"
        self.tasks.append(asyncio.create_task(self._serve(share), name=name))

    async def _serve(self, share: _Share) -> None:
        """Run one session after another until closed. Lanes apart rejoin the main ones when they work well."""
        is_well = False
        while not (is_well or self._closing.is_set()):
            owner = Owner(self._generation, self._member, await self._new_id())
            session = share.session = Session(owner, share.lanes, self._shared, self._consumer)
            self._open.add(session)
            watching = asyncio.create_task(self._close_when_well(session, share))
            try:
                is_well = await self._run(session, share)
            finally:
                watching.cancel()
                self._open.discard(session)
                if session.emitter.is_open:
                    self._cut_off.append(session.id)
                closing = asyncio.create_task(self._close_producer(session), name=f"close {session.id}")
                self._producers.add(closing)
                closing.add_done_callback(self._producers.discard)
        if self._closing.is_set():
            return
        own_task = asyncio.current_task()
        self.tasks = [task for task in self.tasks if task is not own_task]
        log.info("lanes_rejoin", partitions=[name_of(lane.partition) for lane in share.lanes])
        for lane in share.lanes:
            lane.reopen("having worked apart")
        self._main.lanes.extend(share.lanes)
        if self._main.session is not None:
            self._main.session.wake()

    async def _close_when_well(self, session: Session, share: _Share) -> None:
        """Close the session of lanes apart once they and the main lanes have worked long enough without a failure."""
        if share is self._main:
            return
        times = max(self._times_apart[lane] for lane in share.lanes)
        seconds = REJOIN_SECONDS * 2 ** min(times - 1, MAX_DOUBLINGS)
        began = time.monotonic()
        while True:
            await asyncio.sleep(seconds / 10)
            well_since = max(began, share.failed_at, self._main.failed_at)
            if time.monotonic() - well_since >= seconds and all(lane.is_at_work for lane in share.lanes):
                session.close()
                return

    async def _close_producer(self, session: Session) -> None:
        await session.emitter.end_sending()
        # Only now: `fence` relies on the set, whose producers must send nothing more.
        self._shared.ended_producers.add(session.id)
        await session.emitter.close()

    async def _new_id(self) -> str:
        """Return a new transactional id. Tries a few, to find one whose coordinator is not silent."""
        settings, cluster = self._shared.settings, self._shared.cluster
        for _ in range(IDS_TRIED):
            new_id = f"{settings.group_id}.{settings.topic_commands}.{uuid4().hex}"
            with suppress(*CLUSTER_ERRORS):
                if await cluster.is_coordinated(new_id):
                    break
        return new_id

    async def _run(self, session: Session, share: _Share) -> bool:
        """Run a session until it is closed, which returns True, or until it has to be replaced."""
        lanes = share.lanes
        # The share gets a new list when suspects leave it. This session has the old one, so it has to be replaced.
        while not self._closing.is_set() and share.lanes is lanes:
            try:
                await session.run()
                return True
            except Exception as error:
                for lane in lanes:
                    if lane.state not in (LaneState.HALTED, LaneState.LOST):
                        lane.reopen(reason_of(error, self._shared.settings))
                share.note_failure(error, session.emitter.has_committed)
                self._open_suspects_apart(share, error)
                await is_set_within(self._closing, share.pause())
                if session.is_spent:
                    break
        return False

    def _open_suspects_apart(self, share: _Share, error: Exception) -> None:
        """Open lanes that are to blame for a failure apart. `share` keeps the others, in a new list."""
        lanes = share.lanes
        named = error.suspects if isinstance(error, Doubt) else frozenset()
        suspects = [lane for lane in lanes if lane.partition in named]
        if 0 < len(suspects) < len(lanes):
            shares = [_Share([lane]) for lane in suspects]
        elif (
            # Only failed transactions halve. When outages did, too, 48 lanes soon had 48 sessions.
            isinstance(error, EmissionFailed)
            and not named
            and share.failures % FAILURES_TO_HALVE == 0
            and len(lanes) > 1
        ):
            suspects = lanes[len(lanes) // 2 :]
            shares = [_Share(suspects)]
        else:
            return
        share.lanes = [lane for lane in lanes if lane not in suspects]
        self._times_apart.update(suspects)
        for apart in shares:
            self._begin(apart)
        log.warning("lanes_opened_apart", partitions=[name_of(lane.partition) for lane in suspects])

    async def close(self) -> None:
        """Let turns in flight end, for a bounded time. The next owners of the lanes fence those that are cut off."""
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
        """Fence our own sessions that were cut off: after a stop, nobody else may open their lanes for a long time.

        Until then, readers of the result topics would wait for the broker's transaction timeout.
        """
        fences = [fence(self._shared.cluster, self._shared.settings, producer) for producer in self._cut_off]
        with suppress(Exception):
            async with asyncio.timeout(FENCE_SECONDS):
                await asyncio.gather(*fences)
