"""A lane: one assigned partition with its own transactional producer; opens, runs and closes as the protocol says."""

import asyncio
import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

import stamina
import structlog
from aiokafka.errors import UnknownTopicOrPartitionError
from opentelemetry.trace import Span

from worker import crashpoints
from worker.domain.moments import iso_8601
from worker.messages.events import Answer
from worker.processing import Processor, Work
from worker.settings import Settings
from worker.store.port import BatchTooLarge, Hold, LaneName, LostLane, NewerOwner, Position, Stake, Store, TopicIdentity
from worker.stream.backlog import Backlog
from worker.stream.connection import Cluster
from worker.stream.door import Door, KeysAway
from worker.stream.emitter import Emitter
from worker.stream.inbox import FetchFailed, Inbox
from worker.stream.positions import Halt, Log, reason_to_halt, reason_without_topic
from worker.stream.published import newest_result
from worker.telemetry import Telemetry
from worker.tracing import Tracing

log = structlog.get_logger(__name__)

REEMIT_RECORDS = 1000
HALTED_LOOK_SECONDS = 30.0
IDLE_SECONDS = 1.0
"""An idle lane notes after this time that all of its answers are out."""


class LaneState(Enum):
    """What a lane is doing, as `/readyz` and the metrics say it."""

    OPENING = "opening"
    RUNNING = "running"
    WAITING = "waiting"
    HALTED = "halted"
    LOST = "lost"
    CLOSED = "closed"


class LogEnds(Protocol):
    """What a lane asks of the consumer of its partition."""

    async def log_ends(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset of the log and the offset behind its last readable record."""
        ...

    def begin_at(self, topic: str, partition: int, offset: int) -> None:
        """Seek to `offset` and let fetches begin."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all lanes of a worker share."""

    settings: Settings
    store: Store
    processor: Processor
    door: Door
    cluster: Cluster
    telemetry: Telemetry
    tracing: Tracing


@dataclass(frozen=True, slots=True)
class Share:
    """A lane's part of its worker: how many `records` it takes at once, and how much memory it may fill.

    It holds `held_bytes` of records whose results are not visible yet, and `answer_bytes` of answers a batch: one batch
    is on its way out while the next is at work.
    """

    records: int
    held_bytes: int
    answer_bytes: int


class Lane:
    """One partition for one generation of the group."""

    def __init__(
        self, name: LaneName, generation: int, member: str, share: Share, shared: Surroundings, consumer: LogEnds
    ) -> None:
        self.name = name
        self.inbox = Inbox(2 * share.records, share.held_bytes)
        self.backlog = Backlog(self.inbox)
        self.state = LaneState.OPENING
        self.reason = "opening"
        self.progressed_at = time.monotonic()
        self.applied: int | None = None
        self.emitted: int | None = None
        self._noted = 0
        self._share = share
        self._most = share.records
        self._generation, self._member = generation, member
        self._shared, self._consumer = shared, consumer
        self._closing = asyncio.Event()
        self._in_flight: asyncio.Task[None] | None = None
        self._log = log.bind(topic=name.topic, partition=name.partition, generation=generation)

    def close(self) -> None:
        """Stop taking batches; `run` returns when the one in flight is out."""
        self._closing.set()

    @property
    def wants_records(self) -> bool:
        """Whether the reader should fetch for this lane now."""
        return self.state in (LaneState.RUNNING, LaneState.WAITING) and self.inbox.wants_more

    @property
    def busy(self) -> bool:
        """Whether something that was fetched is not emitted yet, wherever it is held up."""
        return self.emitted is not None and self.emitted < self.inbox.fetch_offset

    async def run(self) -> None:
        """Until closed: open, work, and on any doubt open again. Never raises but when cancelled."""
        topic, partition = self.name.topic, self.name.partition
        self._shared.telemetry.watch_lane(topic, partition, self)
        try:
            while not self._closing.is_set():
                try:
                    await self._run_until_lost()
                except Halt as halt:
                    await self._stay_halted(halt)
        finally:
            self.state, self.reason = LaneState.CLOSED, "closed"
            self._shared.telemetry.forget_lane(topic, partition, self)

    async def _run_until_lost(self) -> None:
        """A lost lane is asked for again only now and then: a newer generation holds it, unless the group was reset."""
        try:
            while await self._sessions():
                pass
        except LostLane as lost:
            self._stand_still(LaneState.LOST, str(lost))
            self._log.warning("lane_lost", reason=str(lost))
            await self._closes_within(self._shared.settings.kafka_session_timeout_seconds)

    async def _stay_halted(self, halt: Halt) -> None:
        """Until the lane closes, or a look now and then, without effects, finds positions that fit."""
        self._shared.telemetry.halts.labels(self.name.topic, self.name.partition).inc()
        self._log.error("lane_halted", reason=str(halt))
        self._show_halt(halt)
        while not await self._closes_within(HALTED_LOOK_SECONDS):
            try:
                await self._look(halt.hold)
            except Halt as found:
                self._show_halt(found)
                self._log.warning("lane_still_halted", reason=str(found))
            except LostLane:
                return
            except Exception as error:  # the servers' trouble, which is told elsewhere; the next look will tell
                self._log.warning("halted_lane_cannot_look", error=f"{type(error).__name__}: {error}")
            else:
                self._log.info("halted_lane_goes_on")
                return

    def _show_halt(self, halt: Halt) -> None:
        now = time.time()
        self._stand_still(LaneState.HALTED, f"{halt} (looked last at {iso_8601(int(now * 1000))})")
        self._shared.telemetry.halt_looked.labels(self.name.topic, self.name.partition).set(now)

    async def _closes_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        return self._closing.is_set()

    async def _sessions(self) -> bool:
        """Open and work, with growing pauses while that fails at once. True: it had worked, so start afresh."""
        async for attempt in stamina.retry_context(
            on=_may_pass, attempts=None, timeout=None, wait_initial=0.1, wait_max=5.0, wait_jitter=1.0
        ):
            with attempt:
                if self._closing.is_set():
                    return False
                return await self._session()
        return False

    async def _session(self) -> bool:
        tracing = self._shared.tracing
        emitter = Emitter(self._shared.settings, self.name.topic, self.name.partition, tracing)
        opened_at: int | None = None
        try:
            with tracing.opening(self.name):
                hold, opened_at = await self._open(emitter)
            await self._work(hold, emitter)
            return False
        except (Halt, LostLane):
            raise
        except Exception as error:
            self._reopening(error)
            if opened_at is not None and self.emitted is not None and self.emitted > opened_at:
                return True
            raise
        finally:
            await self._drop_in_flight()
            await emitter.close()

    def _reopening(self, error: Exception) -> None:
        self._stand_still(LaneState.OPENING, f"reopening after {type(error).__name__}: {error}")
        self._shared.telemetry.reopenings.labels(self.name.topic, self.name.partition).inc()
        self._log.warning("lane_reopens", error=f"{type(error).__name__}: {error}")

    def _stand_still(self, state: LaneState, reason: str) -> None:
        self.state, self.reason = state, reason
        self._shared.telemetry.lane_state(self.name.topic, self.name.partition, state.value)

    async def _drop_in_flight(self) -> None:
        task, self._in_flight = self._in_flight, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=5.0)

    def lag_records(self) -> float:
        """How many offsets the lane is behind the end of the log."""
        return self.backlog.records(self.applied)

    def lag_seconds(self) -> float:
        """How old the oldest command is that has no visible result; 0 where none waits."""
        oldest_ms = self.backlog.oldest_ms
        return 0.0 if oldest_ms is None else max(0.0, time.time() - oldest_ms / 1000)

    # Open

    async def _open(self, emitter: Emitter) -> tuple[Hold, int]:
        """Fence the last owner in Postgres and in Kafka, compare A and E, and bring E up to A (protocol section 3)."""
        self._stand_still(LaneState.OPENING, "opening")
        hold = await self._fence()
        crashpoints.reach("fence")
        await emitter.start()
        crashpoints.reach("init")
        position, emitted = await self._look(hold)
        await self._shared.store.start_lane(hold, position.applied, position.topic)
        self.applied, self.emitted, self._noted = position.applied, emitted, position.emitted
        await self._emit_again(hold, emitter, emitted, position.applied)
        crashpoints.reach("ledger re-emission")
        self.inbox.restart(position.applied)
        self.backlog.restart()
        self._consumer.begin_at(self.name.topic, self.name.partition, position.applied)
        crashpoints.reach("seek")
        self._stand_still(LaneState.RUNNING, "")
        self._log.info("lane_open", applied=position.applied, emitted=emitted, epoch=hold.epoch)
        return hold, position.applied

    async def _look(self, hold: Hold) -> tuple[Position, int]:
        """A and E, without effects; raises `Halt` where they do not fit together.

        A lane that never ran stands at the start of its log; the position's topic is the one that is there.
        """
        name, shared = self.name, self._shared
        topic = await self._topic(hold)
        log = Log(topic, *await self._consumer.log_ends(name.topic, name.partition))
        position = await shared.store.position(hold) or Position(log.first, log.first, log.first)
        committed = await shared.cluster.committed(name.group_id, name.topic, name.partition)
        emitted, newest = position.emitted if committed is None else committed, None
        if emitted > position.applied:
            newest = await newest_result(shared.settings, shared.cluster, name.topic, name.partition)
        reason = reason_to_halt(position, emitted, log, newest)
        if reason is not None:
            self.backlog.stands_at = min(position.applied, emitted)
            raise Halt(reason, hold)
        return replace(position, topic=topic), emitted

    async def _topic(self, hold: Hold) -> TopicIdentity | None:
        try:
            return await self._shared.cluster.identity(self.name.topic)
        except UnknownTopicOrPartitionError:
            raise Halt(reason_without_topic(self.name.topic), hold) from None

    async def _fence(self) -> Hold:
        """Only the newest generation may fence. A group that was reset counts from 1 again: then the broker knows."""
        fence = self._shared.store.fence
        hold = await fence(self.name, self._generation, self._member)
        if isinstance(hold, NewerOwner):
            if not await self._shared.cluster.is_member(self.name.group_id, self._generation, self._member):
                raise LostLane(f"held for generation {hold.generation} by {hold.member}")
            hold = await fence(self.name, self._generation, self._member, force=True)
        assert isinstance(hold, Hold)
        return hold

    async def _emit_again(self, hold: Hold, emitter: Emitter, emitted: int, applied: int) -> None:
        """Emit the ledger rows [E, A): after a crash, or because an operator reset the offsets back."""
        while emitted < applied:
            answers = await self._shared.store.answers(hold, emitted, applied, REEMIT_RECORDS)
            await self._assert_ledger_is_whole(hold, emitted)
            upto = answers[-1].offset + 1 if answers else applied
            with self._shared.tracing.step("re-emit"):
                await emitter.emit(answers, upto)
            self._shared.telemetry.reemitted.labels(self.name.topic, self.name.partition).inc(len(answers))
            self._log.info("ledger_emitted_again", start=emitted, stop=upto, records=len(answers))
            emitted = upto
            self._advance_emitted(upto)

    async def _assert_ledger_is_whole(self, hold: Hold, start: int) -> None:
        """A day that is dropped while its rows are read would look like a gap in the offsets: ask after reading."""
        position = await self._shared.store.position(hold)
        if position is None or start < position.ledger_from:
            raise FetchFailed(f"answers from {start} on were dropped from the ledger meanwhile")

    # Run

    async def _work(self, hold: Hold, emitter: Emitter) -> None:
        """Batch after batch.

        Where records are waiting, the Postgres work of one runs while the Kafka transaction of the last is in flight;
        otherwise all that comes meanwhile goes into one batch.
        """
        while await self._something_to_take(hold):
            span = self._shared.tracing.start_batch(self.name)
            with self._shared.tracing.within(span):
                done = await self._next_answers(hold, span)
                if done is None:
                    span.end()
                    continue
                await self._settle_in_flight()
                self._in_flight = asyncio.create_task(self._emit(emitter, *done, span))
                if len(self.inbox) < self._share.records:
                    await self._settle_in_flight()
        await self._settle_in_flight()
        await self._note_emitted(hold)

    async def _next_answers(self, hold: Hold, span: Span) -> tuple[list[Answer], int] | None:
        """The next batch in Postgres: its answers, and where it stops. None where there is none, or it was too much."""
        work = await self._next_work(hold)
        if work is None or work.start == work.stop:
            return None
        self._shared.tracing.describe(span, work.commands, work.start, work.stop)
        answers = await self._apply(work)
        return None if answers is None else (answers, work.stop)

    async def _something_to_take(self, hold: Hold) -> bool:
        """Wait for the inbox; False when closing. A failed emission surfaces here, too."""
        while not self._closing.is_set():
            if await self._first_of(self.inbox.changed(), IDLE_SECONDS):
                return not self._closing.is_set()
            if self._in_flight is None:
                self.progressed_at = time.monotonic()
                await self._note_emitted(hold)
        return False

    async def _first_of(self, waiting: Awaitable[None], seconds: float) -> bool:
        """Whether `waiting` ended before the lane closes, an emission ends, or the time is over."""
        wanted = asyncio.ensure_future(waiting)
        closing = asyncio.ensure_future(self._closing.wait())
        others = {closing} if self._in_flight is None else {closing, self._in_flight}
        try:
            done, _ = await asyncio.wait({wanted, *others}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wanted.cancel()
            closing.cancel()
        if wanted in done:
            wanted.result()
            return True
        if self._in_flight in done:
            await self._settle_in_flight()
        return False

    async def _next_work(self, hold: Hold) -> Work | None:
        """Decode and authenticate the next records; None when the lane closes while it waits for keys."""
        assert self.applied is not None
        assert self.emitted is not None
        records, stop = self.inbox.take(self._most)
        self.backlog.take(records, stop)
        while not self._closing.is_set():
            try:
                with self._shared.telemetry.step("decode"):
                    commands = await self._shared.door.commands(records)
            except KeysAway as away:
                self._stand_still(LaneState.WAITING, str(away))
                await self._first_of(asyncio.sleep(1.0), 2.0)
            else:
                if self.state is LaneState.WAITING:
                    self._stand_still(LaneState.RUNNING, "")
                crashpoints.reach("decode")
                stake = Stake(hold, self.applied, self.emitted)
                return Work(stake, records, commands, stop, self._share.answer_bytes)
        return None

    async def _apply(self, work: Work) -> list[Answer] | None:
        """Postgres: effects, ledger and position, in one transaction. None: too much at once, take less."""
        started = time.monotonic()
        try:
            with self._shared.telemetry.step("store"):
                answers = await self._shared.processor.process(work)
        except BatchTooLarge:
            self._shared.tracing.event("batch_too_large")
            self._most = max(1, len(work.records) // 4)
            self.inbox.put_back(work.records)
            self.backlog.put_back()
            return None
        self._most = min(2 * self._most, self._share.records)
        self.applied = work.stop
        self.progressed_at = time.monotonic()
        if work.commands:
            self._shared.telemetry.batch(self.name.topic, self.name.partition, answers, work, started)
        return answers

    async def _emit(self, emitter: Emitter, answers: list[Answer], stop: int, span: Span) -> None:
        tracing = self._shared.tracing
        with tracing.within(span):
            with self._shared.telemetry.step("emit"):
                await emitter.emit(answers, stop)
            self._advance_emitted(stop)
        span.end()

    def _advance_emitted(self, offset: int) -> None:
        self.emitted = offset
        self.inbox.answered(offset)
        self._shared.telemetry.visible(self.backlog.answered(offset))
        self.progressed_at = time.monotonic()

    async def _settle_in_flight(self) -> None:
        task, self._in_flight = self._in_flight, None
        if task is not None:
            await task

    async def _note_emitted(self, hold: Hold) -> None:
        """Keep the lower bound of E exact while the lane rests, for the day that Kafka forgets the group's offset."""
        if self.emitted is not None and self.emitted > self._noted:
            await self._shared.store.mark_emitted(hold, self.emitted)
            self._noted = self.emitted


def _may_pass(error: BaseException) -> bool:
    """Servers that are away come back; a cancellation, a halt or a lost lane must get out of the retries."""
    return isinstance(error, Exception) and not isinstance(error, Halt | LostLane)
