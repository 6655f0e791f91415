"""Opening lanes (DESIGN: A session): register, fence, list, look, emit again what the ledger has, and run."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence

from aiokafka.errors import UnknownTopicOrPartitionError

from worker.store import failpoints
from worker.store.port import LostLane, NewerOwner, Owner
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.fencing import fence
from worker.stream.halts import Halts
from worker.stream.lane import Lane, LaneState
from worker.stream.producer import Emitter
from worker.stream.reemission import SOON_SECONDS, read_ledger
from worker.stream.standing import Standing, look

LEADER_SECONDS = 1.0


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
        self._halts = Halts(shared, consumer, news)

    def stop(self) -> None:
        """Nothing goes on in the background."""
        self._halts.stop()
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
                self._halts.halt(lane, f"{error}. Allow Write on transactionalId {self._group}.{self._topic}. (prefix)")
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
            looks = await look(lanes, self._shared, self._consumer)
        except UnknownTopicOrPartitionError:
            self._halts.look_into(lanes)
            return
        for lane, found in looks.items():
            if isinstance(found, str):
                lane.wait(found, SOON_SECONDS)
            elif isinstance(found, LostLane):
                self._lose(lane, str(found))
            elif found.reason_to_halt() is not None:
                self._halts.look_into([lane])
            else:
                await self._start(lane, found)

    async def _start(self, lane: Lane, found: Standing) -> None:
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

    # Emit again, and run

    async def _emit_again(self, lanes: Sequence[Lane]) -> None:
        """Ledger rows [E, A): after a crash, or because an operator reset the offsets back."""
        parts = await read_ledger(self._shared.store, lanes)
        if not parts:
            return
        with self._shared.tracing.within([lane.span for lane in parts]), self._shared.tracing.step("re-emit"):
            await self._emitter.emit(list(parts.values()))
        for lane, part in parts.items():
            self._shared.hooks.emitted_again(lane.name, len(part.answers))
            lane.log.info("ledger_emitted_again", start=lane.emitted, stop=part.stop, records=len(part.answers))
            lane.emit(part.stop)
        failpoints.reach("ledger re-emission")
        self._news.set()
        for lane in parts:
            if not lane.is_behind:
                self._run(lane)

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
