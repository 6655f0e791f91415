"""Opening lanes (DESIGN: A session): register, fence, list, look, emit again what the ledger has, and run."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Protocol

import structlog
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from worker.batch.recovery import Processor
from worker.domain.timestamps import iso_8601
from worker.messages.events import Answer, header_bytes
from worker.observability.spans import Tracing
from worker.observability.telemetry import Telemetry
from worker.settings import Settings
from worker.store import failpoints
from worker.store.port import LostLane, NewerOwner, Owner, Position, Store
from worker.stream.background import Background
from worker.stream.cluster.connection import Cluster
from worker.stream.command_reader import CommandReader
from worker.stream.fencing import fence
from worker.stream.lane import Lane, LaneState
from worker.stream.positions import Halt, Log, reason_to_halt, reason_without_topic
from worker.stream.producer import Emitter, Part
from worker.stream.published import newest_results

log = structlog.get_logger(__name__)

REEMIT_RECORDS = 1000
REEMIT_BYTES = 4 * 1024 * 1024
"""No more lanes are read from the ledger for a transaction once it has so many records, or bytes."""
HALTED_LOOK_SECONDS = 30.0
LEADER_SECONDS = 1.0
SOON_SECONDS = 0.2
"""When to look again for what the servers say will be there soon."""


class Consumer(Protocol):
    """What is asked of the consumer of the lanes' partitions."""

    async def log_ends(self, topic: str, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        """First offset of each log and the offset behind its last readable record; not of those without a leader."""
        ...

    def begin_at(self, topic: str, partition: int, offset: int) -> None:
        """Seek to `offset` and let fetches begin."""
        ...


@dataclass(frozen=True, slots=True)
class LaneDependencies:
    """What all sessions of a worker share."""

    settings: Settings
    store: Store
    processor: Processor
    command_reader: CommandReader
    cluster: Cluster
    telemetry: Telemetry
    tracing: Tracing


@dataclass(frozen=True, slots=True)
class _Found:
    """Where a lane stands: A and what Postgres knows besides, E, and its log; `is_new` if it never ran."""

    position: Position
    emitted: int
    log: Log
    is_new: bool

    def reason_to_halt(self, newest_result: int | None = None) -> str | None:
        return reason_to_halt(self.position, self.emitted, self.log, newest_result)


_Look = _Found | LostLane | str
"""Where a lane stands; that it is lost; or what it has to wait for."""


class Opening:
    """The lanes of a session that are not at work, as far as each of them has got."""

    def __init__(  # noqa: PLR0913 - what it shares with its session
        self,
        lanes: Sequence[Lane],
        owner: Owner,
        emitter: Emitter,
        shared: LaneDependencies,
        consumer: Consumer,
        news: asyncio.Event,
    ) -> None:
        """`news` is set when `go_on` may get further."""
        self._lanes, self._owner, self._emitter = lanes, owner, emitter
        self._shared, self._consumer, self._news = shared, consumer, news
        self._group, self._topic = shared.settings.group_id, shared.settings.topic_commands
        self._fences: dict[str, asyncio.Task[None]] = {}
        self._halted: set[Lane] = set()
        self._misfit = asyncio.Event()
        self._background = Background()
        self._background.start("halted-lanes", self._watch_halted)

    def stop(self) -> None:
        """Nothing goes on in the background."""
        self._background.stop()
        for task in self._fences.values():
            task.cancel()

    async def go_on(self, settle: Callable[[], Awaitable[None]]) -> None:
        """As far as the lanes get without waiting; `settle` waits for the session's transaction that is in flight.

        Raises what the servers do, after which all lanes have to be registered again.
        """
        now = time.monotonic()
        due = [lane for lane in self._lanes if not lane.is_at_work and lane.look_at <= now]
        if not due:
            return
        await self._register([lane for lane in due if lane.token is None])
        fenced = [lane for lane in due if lane.token is not None and self._is_fenced(lane)]
        await self._list_only([lane for lane in fenced if lane.to_fence])
        unplaced = [lane for lane in fenced if lane.token is not None and not lane.is_placed]
        if unplaced:
            await settle()  # E is not asked for while a transaction of ours may still move it
            await self._place(unplaced)
        behind = [lane for lane in fenced if lane.is_behind and may_emit(lane, self._emitter)]
        if behind:
            await settle()
            await self._emit_again(behind)

    # 2. Register

    async def _register(self, lanes: Collection[Lane]) -> None:
        """Only the newest generation may have a lane. A group that was reset counts from 1 again: the broker knows."""
        if not lanes:
            return
        store, owner = self._shared.store, self._owner
        for lane in lanes:
            lane.span = self._shared.tracing.start_opening(lane.name)
        found = await store.register([lane.name for lane in lanes], owner)
        newer = [name for name, one in found.items() if isinstance(one, NewerOwner)]
        if newer and await self._shared.cluster.is_member(self._group, owner.generation, owner.member):
            found |= await store.register(newer, owner, force=True)
        failpoints.reach("register")
        for lane in lanes:
            one = found[lane.name]
            if isinstance(one, NewerOwner):
                self._lose(lane, f"held for generation {one.generation} by {one.member}")
            else:
                lane.registered(one)

    def _lose(self, lane: Lane, reason: str) -> None:
        """A newer generation holds it, unless the group was reset or we took it from ourselves: ask again, later."""
        self._shared.tracing.end(lane.span, LostLane([]))
        lane.lose(reason, self._shared.settings.kafka_session_timeout_seconds)

    # 3. Fence

    def _is_fenced(self, lane: Lane) -> bool:
        """Whether all that other producers may have left open for the lane has ended. Each is fenced once a session."""
        waiting = []
        for one in lane.to_fence:
            task = self._fences.get(one)
            if task is None:
                task = self._fences[one] = asyncio.create_task(self._fence(one), name=f"fence {one}")
            if not task.done():
                waiting.append(one)
            elif (error := task.exception()) is not None:
                del self._fences[one]
                self._halt(lane, f"{error}. Allow Write on transactionalId {self._group}.{self._topic}. (prefix)")
                return False
        if waiting:
            lane.wait(f"waiting until Kafka has ended what {', '.join(waiting)} may have left open")
        return not waiting

    async def _fence(self, producer: str) -> None:
        try:
            await fence(self._shared.cluster, self._shared.settings, producer)
        finally:
            self._news.set()

    # 4. List

    async def _list_only(self, lanes: Collection[Lane]) -> None:
        if not lanes:
            return
        failpoints.reach("fence")
        ours = await self._shared.store.list_only([lane.token for lane in lanes if lane.token], self._owner.producer)
        failpoints.reach("list")
        for lane in lanes:
            if lane.token in ours:
                lane.to_fence = frozenset()
            else:
                self._lose(lane, "a newer epoch holds it")

    # 5. Look, and compare

    async def _place(self, lanes: Collection[Lane]) -> None:
        for lane in lanes:
            if not lane.span.is_recording():  # it was open before
                lane.span = self._shared.tracing.start_opening(lane.name)
        try:
            looks = await self._look(lanes)
        except UnknownTopicOrPartitionError:
            self._suspect(lanes)
            return
        for lane, look in looks.items():
            if isinstance(look, str):
                lane.wait(look, SOON_SECONDS)
            elif isinstance(look, LostLane):
                self._lose(lane, str(look))
            elif look.reason_to_halt() is not None:
                self._suspect([lane])
            else:
                await self._start(lane, look)

    async def _start(self, lane: Lane, found: _Found) -> None:
        position = found.position
        assert lane.token is not None
        if found.is_new or (position.topic is None and found.log.topic is not None):
            try:
                await self._shared.store.start_lane(lane.token, position.applied, found.log.topic)
            except LostLane as lost:
                self._lose(lane, str(lost))
                return
        lane.place(position.applied, found.emitted, position.emitted)
        if not lane.is_behind:
            self._run(lane)

    async def _look(self, lanes: Collection[Lane]) -> dict[Lane, _Look]:
        """Where lanes stand, E and then A, without effects. A lane that never ran stands at the start of its log.

        Raises `UnknownTopicOrPartitionError` where the topic is not there any more.
        """
        shared = self._shared
        partitions = [lane.name.partition for lane in lanes]
        topic = await shared.cluster.identity(self._topic)
        logs = await self._consumer.log_ends(self._topic, partitions)
        committed = await shared.cluster.committed(self._group, self._topic, partitions)
        positions = await shared.store.positions([lane.token for lane in lanes if lane.token is not None])
        looks: dict[Lane, _Look] = {}
        for lane in lanes:
            partition, token = lane.name.partition, lane.token
            emitted = committed[partition]
            if token is None or token not in positions:
                looks[lane] = LostLane([] if token is None else [token])
            elif partition not in logs:
                looks[lane] = f"partition {partition} of {self._topic} has no leader"
            elif isinstance(emitted, KafkaError):
                looks[lane] = f"asking for the group's offset again after {emitted}"
            else:
                first, end = logs[partition]
                position = positions[token] or Position(first, first, first)
                looks[lane] = _Found(
                    position,
                    position.emitted if emitted is None else emitted,
                    Log(topic, first, end),
                    positions[token] is None,
                )
        return looks

    # Halts

    def _suspect(self, lanes: Collection[Lane]) -> None:
        """Their positions do not fit. Why is found out beside the turns of the others, since it may take long."""
        for lane in lanes:
            lane.wait("its positions do not fit: looking for the reason", inf)
        self._halted.update(lanes)
        self._misfit.set()

    def _halt(self, lane: Lane, reason: str) -> None:
        """This lane only. It is looked at again now and then, beside the turns of the others."""
        self._shared.tracing.end(lane.span, Halt(reason))
        now = time.time()
        if lane.state is LaneState.HALTED:
            lane.log.warning("lane_still_halted", reason=reason)
        else:
            self._shared.telemetry.halts.labels(self._topic, lane.name.partition).inc()
            lane.log.error("lane_halted", reason=reason)
        self._halted.add(lane)
        lane.stand(LaneState.HALTED, f"{reason} (looked last at {iso_8601(int(now * 1000))})", inf)
        self._shared.telemetry.halt_looked.labels(self._topic, lane.name.partition).set(now)

    async def _watch_halted(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HALTED_LOOK_SECONDS):
                    await self._misfit.wait()
            self._misfit.clear()
            if self._halted:
                try:
                    await self._look_at_halted()
                except Exception as error:  # the servers' trouble, which is told elsewhere; the next look will tell
                    log.warning("halted_lanes_cannot_look", error=f"{type(error).__name__}: {error}")
                    await asyncio.sleep(1.0)
                    self._misfit.set()

    async def _look_at_halted(self) -> None:
        lanes = set(self._halted)
        try:
            looks = await self._look([lane for lane in lanes if not lane.to_fence])
        except UnknownTopicOrPartitionError:
            for lane in lanes:
                self._halt(lane, reason_without_topic(self._topic))
            return
        found = {lane: look for lane, look in looks.items() if isinstance(look, _Found)}
        ahead = [lane.name.partition for lane, look in found.items() if look.emitted > look.position.applied]
        newest = await newest_results(self._shared.settings, self._shared.cluster, self._topic, ahead)
        for lane in lanes:
            look = looks.get(lane)
            reason = look.reason_to_halt(newest.get(lane.name.partition)) if isinstance(look, _Found) else None
            if reason is not None:
                assert isinstance(look, _Found)
                lane.lag.stands_at = min(look.position.applied, look.emitted)
                self._halt(lane, reason)
            elif not isinstance(look, str):
                lane.log.info("halted_lane_goes_on")
                self._halted.discard(lane)
                lane.stand(LaneState.OPENING, "opening")
                self._news.set()

    # Emit again, and run

    async def _emit_again(self, lanes: Sequence[Lane]) -> None:
        """Ledger rows [E, A): after a crash, or because an operator reset the offsets back."""
        parts = await self._read_ledger(lanes)
        if not parts:
            return
        with self._shared.tracing.within([lane.span for lane in parts]), self._shared.tracing.step("re-emit"):
            await self._emitter.emit(list(parts.values()))
        for lane, part in parts.items():
            self._shared.telemetry.reemitted.labels(self._topic, lane.name.partition).inc(len(part.answers))
            lane.log.info("ledger_emitted_again", start=lane.emitted, stop=part.stop, records=len(part.answers))
            lane.emit(part.stop)
        failpoints.reach("ledger re-emission")
        self._news.set()
        for lane in parts:
            if not lane.is_behind:
                self._run(lane)

    async def _read_ledger(self, lanes: Sequence[Lane]) -> dict[Lane, Part]:
        """A day that is dropped while its rows are read would look like a gap in the offsets: ask after reading."""
        read: dict[Lane, Sequence[Answer]] = {}
        records = size = 0
        for lane in lanes:
            if records >= REEMIT_RECORDS or size >= REEMIT_BYTES:
                break
            expected = lane.expected
            most = max(1, REEMIT_RECORDS // len(lanes))
            answers = await self._shared.store.answers(expected.token, expected.emitted, expected.applied, most)
            read[lane] = answers
            records, size = records + len(answers), size + sum(map(_size, answers))
        positions = await self._shared.store.positions([lane.expected.token for lane in read])
        parts: dict[Lane, Part] = {}
        for lane, found in read.items():
            expected = lane.expected
            position = positions.get(expected.token)
            if position is None or expected.emitted < position.ledger_from:
                lane.reopen(f"answers from {expected.emitted} on were dropped from the ledger meanwhile", SOON_SECONDS)
            else:
                stop = found[-1].offset + 1 if found else expected.applied
                parts[lane] = Part(lane.source, found, stop, lane.span)
        return parts

    def _run(self, lane: Lane) -> None:
        lane.run()
        self._consumer.begin_at(self._topic, lane.name.partition, lane.expected.applied)
        failpoints.reach("seek")
        self._shared.tracing.end(lane.span)
        lane.log.info("lane_open", applied=lane.applied, emitted=lane.emitted, epoch=lane.expected.token.epoch)


def may_emit(lane: Lane, emitter: Emitter) -> bool:
    """Whether all places that results of a lane may go to have a leader, as far as is known; else it waits for one."""
    place = emitter.without_leader(lane.name.partition)
    if place is None:
        return True
    emitter.look_for_leaders()
    reason = f"its results cannot be emitted: {place} has no leader"
    if lane.is_at_work:
        lane.stand(LaneState.WAITING, reason, LEADER_SECONDS)
    else:
        lane.wait(reason, LEADER_SECONDS)
    return False


def _size(answer: Answer) -> int:
    letter = answer.dead_letter
    copied = 0 if letter is None else len(letter.value or b"") + header_bytes(letter.headers)
    return len(answer.value) + copied
