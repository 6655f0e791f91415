"""A session: one transactional producer and the lanes that it serves (DESIGN: A session).

The producer has a transactional id that is never used again. The session opens its lanes, then takes turns for all of
them at once: take records, decode them to commands, decide and commit them in Postgres, emit their results in Kafka.
Any doubt about a turn ends the session, and `worker.stream.sessions` begins another one.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress

from aiokafka.structs import TopicPartition

from worker.auth.jwks import KeysUnavailable
from worker.batch.batch import Batch
from worker.observability.hooks import Activity, Turn
from worker.store import failpoints
from worker.store.port import AnotherDatabase, BatchTooLarge, LostLane, Owner, StoreUnavailable
from worker.stream.background import is_set_within
from worker.stream.cluster.leaders import name_of
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.lane import Lane, LaneState
from worker.stream.open_lane import OpenLane
from worker.stream.opening import Opening, may_emit
from worker.stream.producer import Doubt, Emitter

# The most memory for the records of a turn. All lanes together may hold three times as much, so that records are
# fetched for one turn while two others are at work.
TURN_BYTES = 4 * 1024 * 1024
# While several channels have commands, each takes at most this much of a turn. A command waits for the turn before its
# own, and a flood on one channel must not make that turn long for the others.
SHARED_RECORDS = 100
SHARED_BYTES = 512 * 1024
# How long a channel counts after its last command.
SHARED_SECONDS = 2.0
# When a session notes E in Postgres: after this long without a command, and this often while some lanes are busy.
IDLE_SECONDS = 1.0
NOTE_SECONDS = 30.0
# How long a lane waits before it asks for the OAuth keys again.
KEYS_SECONDS = 1.0
# Decoding an oversized turn is wasted work. Cap turns below its size, then raise the cap by this fraction per turn.
CAP_RISES = 64
# How long envelopes are opened ahead before other tasks get a chance: an answer of Postgres waits meanwhile. By time,
# since an envelope of 64 KiB takes two hundred times as long as a usual one.
AHEAD_SECONDS = 0.0007

Batches = dict[OpenLane, Batch]


class LanesFailed(Doubt):
    """The database keeps refusing the batches of some lanes, and takes those of the others."""


class Session:
    """Serves some lanes of a worker, usually all of them, with a producer of its own."""

    def __init__(self, owner: Owner, lanes: Sequence[Lane], shared: LaneDependencies, consumer: Consumer) -> None:
        """`owner.producer` is the transactional id. No producer may have used it before."""
        self.id = owner.producer
        self.emitter = Emitter(shared.settings, self.id, shared.hooks)
        self._owner, self._lanes, self._shared, self._consumer = owner, lanes, shared, consumer
        self._hooks = shared.hooks
        self._is_started = self._is_closing = False
        # Set when records came, when background work ended, or when the session has to close.
        self._wake = asyncio.Event()
        # The Kafka part of the previous turn. There is at most one.
        self._in_flight: asyncio.Task[None] | None = None
        self._max_records = self._max_records_cap = shared.settings.batch_records
        self._open: dict[Lane, OpenLane] = {}
        # Counts turns, so that `_take` knows which lanes have waited longest.
        self._turns = 0
        # When each channel last had commands, by command topic.
        self._served: dict[str, float] = {}
        self._noted_at = 0.0

    @property
    def is_spent(self) -> bool:
        """Whether a failed session has to be replaced.

        A session that started but never began a transaction has nothing open in Kafka, so it can run again.
        """
        return not self._is_started or self.emitter.has_begun

    def close(self) -> None:
        """Begin no more turns. `run` returns when the turn in flight has ended."""
        self._is_closing = True
        self._wake.set()

    def wake(self) -> None:
        """Look at all lanes again, since the caller has added some to the list that the session was made with."""
        self._wake.set()

    async def run(self) -> None:
        """Open the lanes and answer their commands until closed. Raises on any doubt."""
        if not self._is_started:
            # Start before a lane's row lists the id, so that nobody fences it earlier: Kafka obeys the last
            # InitProducerId, and a start after another worker's fence would undo the fence.
            await self.emitter.start()
            self._is_started = True
            failpoints.reach("init")
        # `run` is called again after a failure, when nothing of the previous opening is valid.
        self._open.clear()
        for lane in self._lanes:
            lane.join_session()
        opening = Opening(self._lanes, self._owner, self.emitter, self._shared, self._consumer, self._wake)
        try:
            while not self._is_closing:
                self._wake.clear()  # before the work below, during which anybody may set it again
                self._open |= {opened.lane: opened for opened in await opening.go_on(self._settle)}
                # This opening may have read from the previous database, so nothing may be decided with its answers.
                if self._shared.store.incarnation != opening.incarnation:
                    raise AnotherDatabase
                if not await self._turn():
                    await self._rest()
                # A busy session notes E, too. Otherwise housekeeping would keep days whose answers are all out.
                elif time.monotonic() - self._noted_at >= NOTE_SECONDS:
                    await self._note_emitted()
            # Do not remove the id from the lists of producers: Kafka answers EndTxn before it has written the markers.
            await self._settle()
            with suppress(StoreUnavailable):
                await self._note_emitted()
        except Exception as error:
            for lane in self._lanes:
                self._hooks.ended(Activity(lane.name), error)
            # Let the Kafka part in flight end: its results are decided, and perhaps only Postgres is away. Report the
            # first failure.
            with suppress(Exception):
                await self._settle()
            raise
        finally:
            # Also when closed or cut off: the next opening of the lane in this worker must not continue this activity.
            for lane in self._lanes:
                self._hooks.ended(Activity(lane.name))
            opening.stop()
            await self._drop_in_flight()

    # A turn

    async def _turn(self) -> bool:
        """Answer the waiting records of all lanes. False if there are none.

        The Postgres part runs while the Kafka part of the previous turn is in flight. Two Kafka parts never overlap,
        since a producer has one transaction at a time.
        """
        turn = self._take()
        if not turn:
            return False
        with self._hooks.within([batch.activity for batch in turn.values()]):
            turn = await self._decode(turn)
        with self._hooks.within([batch.activity for batch in turn.values()]):
            applied = await self._apply(turn) if turn else {}
            await self._settle()
            if applied:
                self._in_flight = asyncio.create_task(self._emit(applied))
            # If few records wait, await the Kafka part, so that all records that come meanwhile go into one turn.
            if sum(len(lane.inbox) for lane in self._lanes) < self._max_records:
                await self._settle()
        return True

    def _take(self) -> Batches:
        """Take the same number of records from each lane, or all of a lane's, within the bounds of a turn."""
        self._turns += 1
        ready = self._ready_lanes()
        is_shared = self._is_shared(ready)
        records_left, bytes_left = self._max_records, TURN_BYTES
        if len(ready) > records_left:  # keep those that have waited longest
            ready = sorted(ready, key=lambda lane: lane.served)[:records_left]
        few = records_left // max(1, len(ready))
        lanes_of, sizes = Counter(lane.name.topic for lane in ready), Counter[str]()
        turn: Batches = {}
        # Lanes with few records come first, and leave the rest of their shares to those with many. A lane that a shared
        # turn has passed over comes first in the next one, however many it has.
        served_before = self._turns - 1 if is_shared else 0
        ready.sort(key=lambda lane: (len(lane.inbox) > few and lane.served >= served_before, lane.served))
        for before, lane in enumerate(ready):
            shares, topic = len(ready) - before, lane.name.topic
            records, size = records_left // shares, bytes_left // shares
            if is_shared:
                if sizes[topic] >= SHARED_BYTES:
                    continue
                records = min(records, max(1, SHARED_RECORDS // lanes_of[topic]))
                size = min(size, SHARED_BYTES // lanes_of[topic])
            # Each lane gives at least one record, however few bytes its neighbours have left.
            batch = lane.inbox.take(lane.expected, records, max(1, size))
            self._hooks.begins(batch.activity)
            lane.served = self._turns
            records_left, bytes_left = records_left - len(batch.records), bytes_left - batch.size
            sizes[topic] += batch.size
            turn[lane] = batch
        return turn

    def _is_shared(self, ready: Collection[OpenLane]) -> bool:
        """Whether several channels have commands, or had some a moment ago."""
        now = time.monotonic()
        self._served |= {lane.name.topic: now for lane in ready if len(lane.inbox)}
        return sum(now - served < SHARED_SECONDS for served in self._served.values()) > 1

    def _ready_lanes(self) -> list[OpenLane]:
        """The lanes that have something for a turn. Reopens lanes whose fetches failed."""
        now = time.monotonic()
        ready = []
        for lane, open_lane in list(self._open.items()):
            if not lane.inbox.is_busy:
                lane.progressed_at = now  # an idle lane is not stuck, however long its neighbours work
            # Even if records wait: commits may be lost, or the records may belong to a topic that is gone.
            if lane.inbox.failure is not None:
                del self._open[lane]
                lane.reopen_after_pause(lane.inbox.failure)
                self._wake.set()
            elif open_lane.has_something and lane.due_at <= now and may_emit(lane, self.emitter):
                if lane.state is LaneState.WAITING:
                    lane.set_state(LaneState.RUNNING)
                ready.append(open_lane)
        return ready

    async def _decode(self, turn: Batches) -> Batches:
        """Decode records and verify access tokens. A lane that has to wait for OAuth keys leaves the turn."""
        decoded: Batches = {}
        with self._hooks.step("decode"):
            for lane, batch in turn.items():
                try:
                    batch.commands = await self._shared.command_reader.commands(batch.records, batch.envelopes)
                    batch.envelopes = ()
                except KeysUnavailable as away:
                    self._put_back(lane, batch)
                    lane.lane.set_state(LaneState.WAITING, f"waiting for OAuth keys: {away}", KEYS_SECONDS)
                else:
                    self._hooks.decoded(batch.activity, batch.stop, batch.commands)
                    decoded[lane] = batch
        failpoints.reach("decode")
        return decoded

    def _put_back(self, lane: OpenLane, batch: Batch) -> None:
        lane.inbox.put_back(batch)
        self._hooks.ended(batch.activity)

    async def _apply(self, turn: Batches) -> Batches:
        """Commit effects, ledger rows and positions in one Postgres transaction. Returns the batches to emit."""
        started = time.monotonic()
        with self._hooks.step("store"):
            ahead = asyncio.create_task(self._open_ahead())
            try:
                await self._shared.processor.process(list(turn.values()))
            finally:
                ahead.cancel()
        self._fit_size(turn.values())
        applied, failed = Batches(), dict[TopicPartition, StoreUnavailable]()
        for lane, batch in turn.items():
            match batch.error:
                case None:
                    lane.apply(batch.stop)
                    applied[lane] = batch
                case BatchTooLarge():
                    # If the search for a bad record found one half too large, the other may be committed. The next turn
                    # then finds that A has moved, and the session opens its lanes again.
                    self._put_back(lane, batch)
                case LostLane() as lost:
                    self._hooks.ended(batch.activity, lost)
                    del self._open[lane.lane]
                    lane.lane.lose(str(lost), self._shared.settings.kafka_session_timeout_seconds)
                case StoreUnavailable() as error:
                    failed[lane.lane.partition] = error
        if answered := [batch for batch in applied.values() if batch.commands]:
            self._hooks.turn(Turn(answered, time.monotonic() - started))
        for batch in applied.values():
            # Results need only the answers. Free the rest, since the next turn is taken while this one is emitted.
            batch.records = batch.commands = ()
        if failed:
            # The other lanes are decided: emit their results before the session ends.
            await self._settle()
            if applied:
                await self._emit(applied)
            raise LanesFailed("; ".join(f"{name_of(at)}: {error}" for at, error in failed.items()), failed)
        return applied

    async def _open_ahead(self) -> None:
        """Open envelopes for the next turn, while the worker waits for Postgres."""
        inboxes = [lane.inbox for lane in self._open if len(lane.inbox)]
        began = time.monotonic()
        for inbox in inboxes:
            while inbox.open_ahead(self._shared.command_reader.open, self._max_records // len(inboxes)):
                if time.monotonic() - began >= AHEAD_SECONDS:
                    await asyncio.sleep(0)
                    began = time.monotonic()

    def _fit_size(self, batches: Collection[Batch]) -> None:
        """Set the most records for the next turn, by whether this one was too large."""
        if any(isinstance(batch.error, BatchTooLarge) for batch in batches):
            self._hooks.too_large()
            size = sum(len(batch.records) for batch in batches)
            self._max_records, self._max_records_cap = max(1, size // 4), max(1, size * 3 // 4)
        else:
            # The 1 lets a cap below `CAP_RISES` rise, too.
            raised = self._max_records_cap + 1 + self._max_records_cap // CAP_RISES
            self._max_records_cap = min(self._shared.settings.batch_records, raised)
            self._max_records = min(2 * self._max_records, self._max_records_cap)

    async def _emit(self, applied: Batches) -> None:
        """Publish the results of all batches and commit the offsets after them, in one Kafka transaction."""
        activities = [batch.activity for batch in applied.values()]
        with self._hooks.within(activities):
            with self._hooks.step("emit"):
                await self.emitter.emit(list(applied.values()), self._consumer.fetch_for_next_turn)
            for lane, batch in applied.items():
                lane.emit(batch.stop)
        for activity in activities:
            self._hooks.ended(activity)

    async def _settle(self) -> None:
        """Wait for the Kafka part in flight. Raises its failure."""
        task, self._in_flight = self._in_flight, None
        if task is not None:
            await task

    async def _drop_in_flight(self) -> None:
        task, self._in_flight = self._in_flight, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=5.0)

    # Between turns

    async def _rest(self) -> None:
        """Wait until something wakes the session, or until a lane is due."""
        await self._settle()
        now = time.monotonic()
        seconds = min([IDLE_SECONDS, *(lane.due_at - now for lane in self._lanes if lane.due_at > now)])
        if await is_set_within(self._wake, seconds):
            return
        # This rest may have been shorter, if another lane is due again and again.
        if time.monotonic() - self._noted_at >= IDLE_SECONDS:
            await self._note_emitted()

    async def _note_emitted(self) -> None:
        """Raise the lower bounds of E in Postgres to E. They count if Kafka forgets the group's offsets."""
        self._noted_at = time.monotonic()
        behind = [lane for lane in self._open.values() if lane.emitted > lane.noted]
        if behind:
            noted = {lane.token: lane.emitted for lane in behind}
            await self._shared.store.mark_emitted(noted)
            for lane in behind:
                # Not `lane.emitted`: a transaction in flight may have moved it during the await.
                lane.noted = noted[lane.token]
