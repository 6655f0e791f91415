"""A session: what a worker is for one generation of the group, and anew after any doubt (DESIGN: A session).

It has one transactional producer with an id that is never used again. It opens its lanes, and works turn after turn:
take → decode → decide and commit → emit and commit, for all lanes at once.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from worker.auth.jwks import KeysUnavailable
from worker.batch.batch import Batch
from worker.observability.hooks import Activity, Turn
from worker.store import failpoints
from worker.store.port import BatchTooLarge, LostLane, Owner, StoreUnavailable
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.lane import Lane, LaneState
from worker.stream.open_lane import OpenLane
from worker.stream.opening import Opening, may_emit
from worker.stream.producer import Doubt, Emitter

TURN_BYTES = 4 * 1024 * 1024
"""How much memory the records of a turn may take: a third of what all lanes hold, so that one turn is fetched while
others are at work."""
IDLE_SECONDS = 1.0
"""Idle lanes note after this time that all of their answers are out."""
KEYS_SECONDS = 1.0
CEILING_RISES = 64
"""A turn that is too large was decoded in vain: after one, turns stay below that size, and try it again only slowly."""


Batches = dict[OpenLane, Batch]
"""The batches of a turn, by lane."""


class LanesFailed(Doubt):
    """The database goes on to refuse the work of these lanes, and not that of the others."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the group in one of its generations; a session keeps the one that it was born with."""

    generation: int
    member_id: str


class Session:
    """Some lanes of a worker, usually all of them, and their producer."""

    def __init__(
        self, id: str, lanes: Sequence[Lane], member: Member, shared: LaneDependencies, consumer: Consumer
    ) -> None:
        """`id` is the transactional id of its producer, which nobody had before."""
        settings = shared.settings
        self.id = id
        self._lanes, self._owner = lanes, Owner(member.generation, member.member_id, self.id)
        self._shared, self._hooks, self._consumer = shared, shared.hooks, consumer
        self._emitter = Emitter(settings, self.id, shared.hooks)
        self._is_started = self._is_closing = False
        self._news = asyncio.Event()
        """Something came, ended, or may be looked at."""
        self._in_flight: asyncio.Task[None] | None = None
        self._most = self._ceiling = settings.batch_records
        self._open: dict[Lane, OpenLane] = {}
        self._turns = self._incarnation = 0
        for lane in lanes:
            lane.inbox.changed = self._news

    @property
    def is_spent(self) -> bool:
        """Whether another session has to go on after a failure. Otherwise it can live again: nothing of it is open."""
        return not self._is_started or self._emitter.has_begun

    @property
    def has_advanced(self) -> bool:
        """Whether results of it became visible."""
        return self._emitter.has_committed

    @property
    def is_in_doubt(self) -> bool:
        """Whether it has a transaction that only a fence or the broker's timeout will end."""
        return self._emitter.is_open

    def close(self) -> None:
        """Begin no more turns; `live` returns when the one in flight is out."""
        self._is_closing = True
        self._news.set()

    def adopt(self, lanes: Sequence[Lane]) -> None:
        """Lanes were added to the list that it was made with: open them, too."""
        for lane in lanes:
            lane.inbox.changed = self._news
        self._news.set()

    async def live(self) -> None:
        """Open the lanes and answer their commands until closed. Raises on any doubt."""
        if not self._is_started:
            await self._emitter.start()
            self._is_started = True
            failpoints.reach("init")
        self._open.clear()
        self._incarnation = self._shared.store.incarnation
        for lane in self._lanes:
            lane.wait("opening")
        opening = Opening(self._lanes, self._owner, self._emitter, self._shared, self._consumer, self._news)
        try:
            while not self._is_closing:
                self._news.clear()
                for one in await opening.go_on(self._settle):
                    one.incarnation = self._incarnation
                    self._open[one.lane] = one
                if not await self._turn():
                    await self._rest()
            await self._settle()
            with suppress(StoreUnavailable):
                await self._note_emitted()
        except Exception as error:
            for lane in self._lanes:
                self._hooks.ended(Activity(lane.name), error)
            with suppress(Exception):  # Postgres alone may be away; and the first failure is the one to tell of
                await self._settle()
            raise
        finally:
            opening.stop()
            await self._drop_in_flight()

    async def end_sending(self) -> None:
        """See `Emitter.end_sending`."""
        await self._emitter.end_sending()

    async def close_producer(self) -> None:
        """Close the producer, whatever state it is in."""
        await self._emitter.close()

    # A turn

    async def _turn(self) -> bool:
        """What waits on all lanes: in Postgres, while the Kafka part of the turn before is in flight, then in Kafka.

        False where nothing waits. Never two Kafka parts at once; and where little is waiting, that part is awaited, so
        that all that comes meanwhile goes into one turn.
        """
        if self._shared.store.incarnation != self._incarnation:
            raise StoreUnavailable("another database answers than the one that these lanes were opened on")
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
            if sum(len(lane.inbox) for lane in self._lanes) < self._most:
                await self._settle()
        return True

    def _take(self) -> Batches:
        """From each lane as much as from the others, or all that it has; those that wait longest come first."""
        now = time.monotonic()
        for lane in self._open:
            if not lane.inbox.is_busy:
                lane.progressed_at = now
        self._turns += 1
        ready = [one for one in list(self._open.values()) if self._is_ready(one)]
        if len(ready) > self._most:
            ready = sorted(ready, key=lambda one: one.served)[: self._most]
        records, size = self._most, TURN_BYTES
        turn: Batches = {}
        for one in sorted(ready, key=lambda one: len(one.lane.inbox)):
            left = len(ready) - len(turn)
            batch = turn[one] = one.lane.inbox.take(one.expected, records // left, max(1, size // left))
            self._hooks.begins(batch.activity)
            one.served = self._turns
            records, size = records - len(batch.records), size - batch.size
        return turn

    def _is_ready(self, one: OpenLane) -> bool:
        """Whether the lane may take part in a turn, and has something for it."""
        lane = one.lane
        if lane.inbox.failure is not None:
            del self._open[lane]
            lane.reopen(lane.inbox.failure)
            self._news.set()
            return False
        if not one.has_something or lane.look_at > time.monotonic():
            return False
        if not may_emit(lane, self._emitter):
            return False
        if lane.state is LaneState.WAITING:
            lane.stand(LaneState.RUNNING)
        return True

    async def _decode(self, turn: Batches) -> Batches:
        """Records become commands whose credentials are checked. A lane whose keys are away waits, the others go on."""
        decoded: Batches = {}
        with self._hooks.step("decode"):
            for lane, batch in turn.items():
                try:
                    batch.commands = await self._shared.command_reader.commands(batch.records)
                    self._hooks.decoded(batch.activity, batch.stop, batch.commands)
                    decoded[lane] = batch
                except KeysUnavailable as away:
                    self._put_back(lane, batch)
                    lane.lane.stand(LaneState.WAITING, f"waiting for OAuth keys: {away}", KEYS_SECONDS)
        failpoints.reach("decode")
        return decoded

    def _put_back(self, lane: OpenLane, batch: Batch) -> None:
        lane.lane.inbox.put_back(batch)
        self._hooks.ended(batch.activity)

    async def _apply(self, turn: Batches) -> Batches:
        """Postgres: effects, ledger and positions, in one transaction; the batches that are to be emitted."""
        started = time.monotonic()
        with self._hooks.step("store"):
            await self._shared.processor.process(list(turn.values()))
        self._fit_size(turn.values())
        applied, failed = Batches(), dict[int, StoreUnavailable]()
        for lane, batch in turn.items():
            match batch.error:
                case None:
                    lane.apply(batch.stop)
                    applied[lane] = batch
                case BatchTooLarge():
                    self._put_back(lane, batch)
                case LostLane() as lost:
                    self._hooks.ended(batch.activity, lost)
                    del self._open[lane.lane]
                    lane.lane.lose(str(lost), self._shared.settings.kafka_session_timeout_seconds)
                case StoreUnavailable() as error:
                    failed[batch.lane.partition] = error
        if answered := [batch for batch in applied.values() if batch.commands]:
            self._hooks.turn(Turn(answered, time.monotonic() - started))
        for batch in applied.values():
            batch.records = batch.commands = ()  # else two turns are held in memory while this one is emitted
        if failed:
            await self._settle()
            if applied:
                await self._emit(applied)
            raise LanesFailed("; ".join(f"partition {at}: {error}" for at, error in failed.items()), failed)
        return applied

    def _fit_size(self, batches: Collection[Batch]) -> None:
        """How many records the next turn takes at most."""
        if any(isinstance(batch.error, BatchTooLarge) for batch in batches):
            self._hooks.too_large()
            size = sum(len(batch.records) for batch in batches)
            self._most, self._ceiling = max(1, size // 4), max(1, size * 3 // 4)
        else:
            most = self._shared.settings.batch_records
            self._ceiling = min(most, self._ceiling + 1 + self._ceiling // CEILING_RISES)
            self._most = min(2 * self._most, self._ceiling)

    async def _emit(self, applied: Batches) -> None:
        """Kafka: all results and the offsets behind them, in one transaction."""
        activities = [batch.activity for batch in applied.values()]
        with self._hooks.within(activities):
            with self._hooks.step("emit"):
                await self._emitter.emit(list(applied.values()))
            for lane, batch in applied.items():
                lane.emit(batch.stop)
        for activity in activities:
            self._hooks.ended(activity)

    async def _settle(self) -> None:
        """Wait for the Kafka part in flight; raises what became of it."""
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
        """Until there is news, or a lane may be looked at again."""
        await self._settle()
        now = time.monotonic()
        seconds = min([IDLE_SECONDS, *(lane.look_at - now for lane in self._lanes if lane.look_at > now)])
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
                return
        if seconds == IDLE_SECONDS:
            await self._note_emitted()

    async def _note_emitted(self) -> None:
        """Keep the lower bounds of E exact while lanes rest, for the day that Kafka forgets the group's offsets."""
        offsets = {one.token: one.emitted for one in self._open.values() if one.emitted > one.noted}
        if offsets:
            await self._shared.store.mark_emitted(offsets)
            for one in self._open.values():
                one.noted = offsets.get(one.token, one.noted)
