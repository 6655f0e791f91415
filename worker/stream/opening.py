"""Opening lanes, step by step as DESIGN numbers them: register, fence, confirm, compare positions, emit again, run."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from worker.batch.batch import Batch
from worker.observability.hooks import Activity
from worker.store import failpoints
from worker.store.port import FencingToken, LostLane, NewerOwner, Owner, Registered
from worker.stream.cluster.leaders import name_of
from worker.stream.cluster.permissions import own_transactions
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.fencing import fence
from worker.stream.forgotten import Forgotten
from worker.stream.halts import Halts
from worker.stream.lane import Lane, LaneState
from worker.stream.lane_positions import LanePositions, LogEnds, look_for_lost_results, read_positions
from worker.stream.open_lane import OpenLane
from worker.stream.positions import Halt
from worker.stream.producer import Emitter
from worker.stream.reemission import read_ledger

# A lane waits so long before it looks again for a leader.
LEADER_SECONDS = 1.0
# The other lanes wait so long for leaders to say where their logs begin and end.
LOG_ENDS_SECONDS = 0.3
# A lane waits so long for an answer that the servers will have soon.
SOON_SECONDS = 0.2


class Opening:
    """Opens the lanes of a session, each as far as it gets, beside the turns of those that are open.

    A lane is in `_registered` until its previous producers are fenced, then in `_tokens` until it is lost. Meanwhile it
    is in `_placed` from when its positions fit until it runs.
    """

    def __init__(  # noqa: PLR0913 - what it shares with its session
        self,
        lanes: Sequence[Lane],
        owner: Owner,
        emitter: Emitter,
        shared: LaneDependencies,
        consumer: Consumer,
        wake: asyncio.Event,
    ) -> None:
        """`wake` is set when `go_on` may get further."""
        self._lanes, self._owner, self._emitter = lanes, owner, emitter
        self._shared, self._consumer, self._wake = shared, consumer, wake
        self._group = shared.settings.group_id
        # Noted before anything is asked: answers of a database that is replaced meanwhile must not open a lane.
        self.incarnation = shared.store.incarnation
        # Lanes registered to us whose previous producers are not fenced yet.
        self._registered: dict[Lane, Registered] = {}
        self._fences: dict[str, asyncio.Task[None]] = {}
        # Lanes that only we can write for; nobody else has anything open for them.
        self._tokens: dict[Lane, FencingToken] = {}
        # Lanes whose positions fit; they run when Kafka has all results that the ledger has.
        self._placed: dict[Lane, OpenLane] = {}
        self._log_ends = LogEnds(consumer, wake)
        self._forgotten = Forgotten(shared, consumer, wake)
        self._halts = Halts(shared, consumer, self._tokens, self._forgotten, wake)

    def stop(self) -> None:
        """Stop all background work."""
        self._halts.stop()
        self._log_ends.stop()
        self._forgotten.stop()
        for task in self._fences.values():
            task.cancel()

    async def go_on(self, settle: Callable[[], Awaitable[None]]) -> list[OpenLane]:
        """Take each lane as far as it gets without waiting. Returns the lanes that are open now.

        `settle` waits for the session's transaction in flight. Raises the errors of both servers; all lanes have to be
        registered again after one.
        """
        # A reading may end when all lanes are at work, and none is due. Its results may tell of lost commits.
        if self._forgotten.take_news():
            self._reopen_if_lost(await look_for_lost_results(self._shared, self._forgotten))
        now = time.monotonic()
        due = [lane for lane in self._lanes if not lane.is_at_work and lane.look_at <= now]
        if not due:
            return []
        await self._register(due)
        await self._confirm([lane for lane in due if lane in self._registered and self._is_fenced(lane)])
        # E is read after the fences only: until then, another producer may still commit an offset.
        unplaced = {lane: self._tokens[lane] for lane in due if lane in self._tokens and lane not in self._placed}
        if unplaced:
            await settle()  # our own transaction may still move E
            await self._place(unplaced)
        self._place_failed_again()
        placed = [self._placed[lane] for lane in due if lane in self._placed]
        behind = [lane for lane in placed if lane.is_behind and may_emit(lane.lane, self._emitter)]
        if behind:
            await settle()  # a producer has one transaction at a time
            await self._emit_again(behind)
            self._place_failed_again()
        return [self._run(lane) for lane in list(self._placed.values()) if not lane.is_behind]

    # 2. Register

    async def _register(self, due: Collection[Lane]) -> None:
        """Register lanes to us, unless a newer generation of the group holds them."""
        for lane in due:
            if lane.state is LaneState.LOST:
                self._tokens.pop(lane, None)
        lanes = [lane for lane in due if lane not in self._tokens and lane not in self._registered]
        if not lanes:
            return
        store, owner = self._shared.store, self._owner
        for lane in lanes:
            self._shared.hooks.begins(Activity(lane.name))
        answers = await store.register([lane.name for lane in lanes], owner)
        newer = [name for name, answer in answers.items() if isinstance(answer, NewerOwner)]
        # A group that was reset counts its generations from 1 again, and the row has a higher one. The broker decides:
        # a present member of the group takes the lane.
        if newer and await self._shared.cluster.is_member(self._group, owner.generation, owner.member):
            answers |= await store.register(newer, owner, force=True)
        failpoints.reach("register")
        for lane in lanes:
            answer = answers[lane.name]
            if isinstance(answer, NewerOwner):
                self._lose(lane, f"held for generation {answer.generation} by {answer.member}")
                continue
            lane.wait("opening")
            # A list without others is our id alone already, so nothing is left to fence or to confirm.
            if answer.producers:
                self._registered[lane] = answer
            else:
                self._hold(lane, answer.token)

    def _hold(self, lane: Lane, token: FencingToken) -> None:
        """Note that only we can write for the lane, and read everything about it anew: others wrote until now."""
        self._tokens[lane] = token
        self._log_ends.forget(lane.partition)
        self._forgotten.forget(lane.partition)

    def _lose(self, lane: Lane, reason: str) -> None:
        """Leave the lane to its holder, and ask for it again later: the holder may be gone, or an older self of us."""
        self._shared.hooks.ended(Activity(lane.name), LostLane([]))
        lane.lose(reason, self._shared.settings.kafka_session_timeout_seconds)

    # 3. Fence

    def _is_fenced(self, lane: Lane) -> bool:
        """Whether all transactions have ended that other producers may have left open for the lane.

        Starts the fences. Each producer is fenced once a session, for all lanes that list it.
        """
        waiting = []
        # All of them, not only the last owner: it may have died before it fenced the one before it.
        for producer in self._registered[lane].producers:
            task = self._fences.get(producer)
            if task is None:
                task = asyncio.create_task(self._fence(producer), name=f"fence {producer}")
                self._fences[producer] = task
            if not task.done():
                waiting.append(producer)
            elif (error := task.exception()) is not None:
                # An error is no fence: the old producer may still commit. The next look at halted lanes asks again.
                del self._fences[producer]
                self._halts.halt(lane, f"{error}. Allow {own_transactions(self._shared.settings)}")
                return False
        if waiting:
            lane.wait(f"waiting until Kafka has ended what {', '.join(waiting)} may have left open")
        return not waiting

    async def _fence(self, producer: str) -> None:
        try:
            ended = self._shared.ended_producers
            await fence(self._shared.cluster, self._shared.settings, producer, lambda: producer in ended)
        finally:
            self._wake.set()

    # 4. Confirm

    async def _confirm(self, lanes: Collection[Lane]) -> None:
        """Make our producer the only one in the lists of these lanes, where their epochs are still ours."""
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

    # 5. Compare positions

    async def _place(self, lanes: Mapping[Lane, FencingToken]) -> None:
        """Read the positions of lanes on both servers. A lane whose positions contradict each other halts."""
        for lane in lanes:
            self._shared.hooks.begins(Activity(lane.name))  # a lane that was open before has not registered again
        logs = await self._log_ends.known([lane.partition for lane in lanes], LOG_ENDS_SECONDS)
        for lane in lanes:
            if lane.partition not in logs:
                lane.wait(f"waiting until a leader of {name_of(lane.partition)} answers", LEADER_SECONDS)
        lanes = {lane: token for lane, token in lanes.items() if lane.partition in logs}
        if not lanes:
            return
        answers = await read_positions(lanes, logs, self._forgotten, self._shared, self._consumer)
        self._reopen_if_lost(*(answer.lost_commits for answer in answers.values() if isinstance(answer, LanePositions)))
        for lane, answer in answers.items():
            await self._place_lane(lane, lanes[lane], answer)

    def _reopen_if_lost(self, *reasons: str | None) -> None:
        """Open lanes at work again where commits are lost: they could not know, and halt then."""
        if any(reason is not None for reason in reasons):
            for lane in self._lanes:
                if lane.is_at_work:
                    lane.inbox.fail("commits of another lane are lost")

    async def _place_lane(self, lane: Lane, token: FencingToken, answer: LanePositions | LostLane | Halt | str) -> None:
        if isinstance(answer, str):
            # A lane whose results have no leader says so already, and cannot read them for the same reason.
            if may_emit(lane, self._emitter):
                lane.wait(answer, SOON_SECONDS)
            return
        if isinstance(answer, LostLane):
            self._lose(lane, str(answer))
            return
        if isinstance(answer, Halt) or answer.reason_to_halt() is not None:
            # Reading the results that explain a halt may take long, so other lanes have turns meanwhile.
            self._halts.look_into(lane)
            return
        position = answer.position
        # A lane that ran on brokers without topic ids learns the id of its topic here.
        if answer.is_new or (position.topic is None and answer.log.topic is not None):
            try:
                await self._shared.store.start_lane(token, position.applied, answer.log.topic)
            except LostLane as lost:
                self._lose(lane, str(lost))
                return
        # Kafka had all results below this bound, so somebody set E back. `audit` expects the repeats that follow.
        if answer.emitted < position.emitted:
            await self._shared.store.note_set_back(token, answer.emitted, position.applied, self._owner.member)
        offsets = position.applied, answer.emitted, position.emitted
        self._placed[lane] = OpenLane(lane, token, offsets, self.incarnation, self._shared.hooks)

    def _place_failed_again(self) -> None:
        """Read the positions of lanes again that failed since: their topics may be others by now.

        A lane may wait for long until its results can be emitted. Whoever watches the topics tells of a change once,
        and a lane that runs forgets its failure.
        """
        for lane in list(self._placed):
            if (reason := lane.inbox.failure) is not None:
                del self._placed[lane]
                lane.reopen(reason)
                self._wake.set()

    # 6. Emit again, run

    async def _emit_again(self, lanes: Sequence[OpenLane]) -> None:
        """Emit ledger rows [E, A) once more: after a crash, or because an operator set the offsets back."""
        batches = dict[OpenLane, Batch]()
        for lane, batch in (await read_ledger(self._shared.store, lanes)).items():
            if batch is not None:
                batches[lane] = batch
            else:
                del self._placed[lane.lane]
                dropped = f"answers from {lane.emitted} on were dropped from the ledger meanwhile"
                lane.lane.reopen(dropped, SOON_SECONDS)
        if not batches:
            return
        hooks = self._shared.hooks
        with hooks.within([Activity(lane.name) for lane in batches]), hooks.step("re-emit"):
            await self._emitter.emit(list(batches.values()))
        for lane, batch in batches.items():
            records = len(batch.answers)
            hooks.emitted_again(lane.name, records)
            lane.lane.log.info("ledger_emitted_again", start=batch.start, stop=batch.stop, records=records)
            lane.emit(batch.stop)
        failpoints.reach("ledger re-emission")
        self._wake.set()  # more rows may be left: the session must not rest

    def _run(self, lane: OpenLane) -> OpenLane:
        """Let the lane read from A on."""
        del self._placed[lane.lane]
        lane.inbox.changed = self._wake
        lane.run()
        # No await between these two: the reader takes a position that is not the inbox's for a failed poll.
        self._consumer.begin_at(lane.lane.partition, lane.applied)
        failpoints.reach("seek")
        self._shared.hooks.ended(Activity(lane.name))
        lane.lane.log.info("lane_open", applied=lane.applied, emitted=lane.emitted, epoch=lane.token.epoch)
        return lane


def may_emit(lane: Lane, emitter: Emitter) -> bool:
    """Whether all result partitions of a lane have a leader, by the metadata. Otherwise the lane waits for one."""
    obstacle = emitter.find_obstacle(lane.name)
    if obstacle is None:
        return True
    reason = f"its results cannot be emitted: {obstacle}"
    if lane.is_at_work:
        lane.set_state(LaneState.WAITING, reason, LEADER_SECONDS)
    else:
        lane.wait(reason, LEADER_SECONDS)
    return False
