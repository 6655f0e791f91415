"""Opening lanes (DESIGN: A session): register, fence, list, look, emit again what the ledger has, and run."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from aiokafka.errors import UnknownTopicOrPartitionError

from worker.batch.batch import Batch
from worker.observability.hooks import Activity
from worker.store import failpoints
from worker.store.port import FencingToken, LostLane, NewerOwner, Owner, Registered
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.fencing import fence
from worker.stream.forgotten import Forgotten
from worker.stream.halts import Halts
from worker.stream.lane import Lane, LaneState
from worker.stream.open_lane import OpenLane
from worker.stream.producer import Emitter
from worker.stream.reemission import read_ledger
from worker.stream.standing import LogEnds, Look, Standing, look

LEADER_SECONDS = 1.0
LOG_ENDS_SECONDS = 0.3
"""How long the other lanes wait for leaders to say where their logs begin and end."""
SOON_SECONDS = 0.2
"""When to look again for what the servers say will be there soon."""


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
        self._registered: dict[Lane, Registered] = {}
        """Ours, as soon as all that others may have open has ended."""
        self._fences: dict[str, asyncio.Task[None]] = {}
        self._tokens: dict[Lane, FencingToken] = {}
        """Ours alone."""
        self._behind: dict[Lane, OpenLane] = {}
        """Placed: they run when Kafka has all that the ledger has."""
        self._log_ends = LogEnds(consumer, self._topic, news)
        self._forgotten = Forgotten(shared, consumer, news)
        self._halts = Halts(shared, consumer, self._tokens, self._forgotten, news)

    def stop(self) -> None:
        """Nothing goes on in the background."""
        self._halts.stop()
        self._log_ends.stop()
        self._forgotten.stop()
        for task in self._fences.values():
            task.cancel()

    async def go_on(self, settle: Callable[[], Awaitable[None]]) -> list[OpenLane]:
        """As far as the lanes get without waiting; those that are open now.

        `settle` waits for the session's transaction that is in flight. Raises what the servers do, after which all
        lanes have to be registered again.
        """
        now = time.monotonic()
        due = [lane for lane in self._lanes if not lane.is_at_work and lane.look_at <= now]
        if not due:
            return []
        await self._register(due)
        await self._list_only([lane for lane in due if lane in self._registered and self._is_fenced(lane)])
        unplaced = {lane: self._tokens[lane] for lane in due if lane in self._tokens and lane not in self._behind}
        if unplaced:
            await settle()  # E is not asked for while a transaction of ours may still move it
            await self._place(unplaced)
        behind = [self._behind[lane] for lane in due if lane in self._behind]
        behind = [one for one in behind if one.is_behind and may_emit(one.lane, self._emitter)]
        if behind:
            await settle()
            await self._emit_again(behind)
        return [self._run(one) for one in list(self._behind.values()) if not one.is_behind]

    # 2. Register

    async def _register(self, due: Collection[Lane]) -> None:
        """Only the newest generation may have a lane. A group that was reset counts from 1 again: the broker knows."""
        for lane in due:
            if lane.state is LaneState.LOST:
                self._tokens.pop(lane, None)
        lanes = [lane for lane in due if lane not in self._tokens and lane not in self._registered]
        if not lanes:
            return
        store, owner = self._shared.store, self._owner
        for lane in lanes:
            self._shared.hooks.begins(Activity(lane.name))
        found = await store.register([lane.name for lane in lanes], owner)
        newer = [name for name, one in found.items() if isinstance(one, NewerOwner)]
        if newer and await self._shared.cluster.is_member(self._group, owner.generation, owner.member):
            found |= await store.register(newer, owner, force=True)
        failpoints.reach("register")
        for lane in lanes:
            one = found[lane.name]
            if isinstance(one, NewerOwner):
                self._lose(lane, f"held for generation {one.generation} by {one.member}")
                continue
            lane.wait("opening")
            if one.producers:
                self._registered[lane] = one
            else:
                self._hold(lane, one.token)

    def _hold(self, lane: Lane, token: FencingToken) -> None:
        """It is ours alone, and nobody else can publish for it any more."""
        self._tokens[lane] = token
        self._log_ends.forget(lane.name.partition)
        self._forgotten.forget(lane.name.partition)

    def _lose(self, lane: Lane, reason: str) -> None:
        """A newer generation holds it, unless the group was reset or we took it from ourselves: ask again, later."""
        self._shared.hooks.ended(Activity(lane.name), LostLane([]))
        lane.lose(reason, self._shared.settings.kafka_session_timeout_seconds)

    # 3. Fence

    def _is_fenced(self, lane: Lane) -> bool:
        """Whether all that other producers may have left open for the lane has ended. Each is fenced once a session."""
        waiting = []
        for one in self._registered[lane].producers:
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
            ended = self._shared.ended_producers
            await fence(self._shared.cluster, self._shared.settings, producer, lambda: producer in ended)
        finally:
            self._news.set()

    # 4. List

    async def _list_only(self, lanes: Collection[Lane]) -> None:
        if not lanes:
            return
        failpoints.reach("fence")
        tokens = {lane: self._registered[lane].token for lane in lanes}
        ours = await self._shared.store.list_only(tokens.values(), self._owner.producer)
        failpoints.reach("list")
        for lane, token in tokens.items():
            del self._registered[lane]
            if token in ours:
                self._hold(lane, token)
            else:
                self._lose(lane, "a newer epoch holds it")

    # 5. Look, and compare

    async def _place(self, lanes: Mapping[Lane, FencingToken]) -> None:
        for lane in lanes:
            self._shared.hooks.begins(Activity(lane.name))  # also of one that was open before
        logs = await self._log_ends.known([lane.name.partition for lane in lanes], LOG_ENDS_SECONDS)
        for lane in lanes:
            if lane.name.partition not in logs:
                lane.wait(f"waiting until a leader of {self._topic}/{lane.name.partition} answers", LEADER_SECONDS)
        lanes = {lane: token for lane, token in lanes.items() if lane.name.partition in logs}
        if not lanes:
            return
        try:
            looks = await look(lanes, logs, self._forgotten, self._shared, self._consumer)
        except UnknownTopicOrPartitionError:
            self._halts.look_into(lanes)
            return
        if any(isinstance(found, Standing) and found.lost_commits is not None for found in looks.values()):
            self._stop_others()
        await self._place_as_told(lanes, looks)

    def _stop_others(self) -> None:
        """Lanes at work could not know that commits are lost, where the results that tell could not be read before."""
        for lane in self._lanes:
            if lane.is_at_work:
                lane.inbox.fail("commits of another lane are lost")

    async def _place_as_told(self, lanes: Mapping[Lane, FencingToken], looks: Mapping[Lane, Look]) -> None:
        for lane, found in looks.items():
            if isinstance(found, str):
                if may_emit(lane, self._emitter):  # else it says so, which is why its results cannot be read, either
                    lane.wait(found, SOON_SECONDS)
            elif isinstance(found, LostLane):
                self._lose(lane, str(found))
            elif found.reason_to_halt() is not None:
                self._halts.look_into([lane])
            else:
                await self._start(lane, lanes[lane], found)

    async def _start(self, lane: Lane, token: FencingToken, found: Standing) -> None:
        position = found.position
        if found.is_new or (position.topic is None and found.log.topic is not None):
            try:
                await self._shared.store.start_lane(token, position.applied, found.log.topic)
            except LostLane as lost:
                self._lose(lane, str(lost))
                return
        if found.emitted < position.emitted:
            await self._shared.store.note_set_back(token, found.emitted, position.applied, self._owner.member)
        stands = position.applied, found.emitted, position.emitted
        self._behind[lane] = OpenLane(lane, token, stands, self._shared.hooks)

    # Emit again, and run

    async def _emit_again(self, lanes: Sequence[OpenLane]) -> None:
        """Ledger rows [E, A): after a crash, or because an operator reset the offsets back."""
        batches = dict[OpenLane, Batch]()
        for one, batch in (await read_ledger(self._shared.store, lanes)).items():
            if batch is not None:
                batches[one] = batch
            else:
                del self._behind[one.lane]
                one.lane.reopen(f"answers from {one.emitted} on were dropped from the ledger meanwhile", SOON_SECONDS)
        if not batches:
            return
        hooks = self._shared.hooks
        with hooks.within([Activity(one.name) for one in batches]), hooks.step("re-emit"):
            await self._emitter.emit(list(batches.values()))
        for one, batch in batches.items():
            hooks.emitted_again(one.name, len(batch.answers))
            one.lane.log.info("ledger_emitted_again", start=one.emitted, stop=batch.stop, records=len(batch.answers))
            one.emit(batch.stop)
        failpoints.reach("ledger re-emission")
        self._news.set()

    def _run(self, one: OpenLane) -> OpenLane:
        del self._behind[one.lane]
        one.run()
        self._consumer.begin_at(self._topic, one.name.partition, one.applied)
        failpoints.reach("seek")
        self._shared.hooks.ended(Activity(one.name))
        one.lane.log.info("lane_open", applied=one.applied, emitted=one.emitted, epoch=one.token.epoch)
        return one


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
