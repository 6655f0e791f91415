"""Opens lanes, in the steps that DESIGN numbers: register, fence, confirm, compare positions, emit again, run."""

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

# How long a lane waits before it looks for a leader again.
LEADER_SECONDS = 1.0
# How long an opening waits for leaders to say where their logs begin and end.
LOG_ENDS_SECONDS = 0.3
# How long a lane waits for an answer that the servers will have soon.
SOON_SECONDS = 0.2


class Opening:
    """Opens the lanes of a session, each as far as it gets, while open lanes have turns.

    A lane is in `_registered` until its previous producers are fenced, then in `_tokens` until it is lost. In between
    it is in `_placed`, from when its positions fit until it runs.
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
        # Noted before any query: answers of a database that is replaced meanwhile must not open a lane.
        self.incarnation = shared.store.incarnation
        # Lanes registered to us whose previous producers are not fenced yet.
        self._registered: dict[Lane, Registered] = {}
        self._fences: dict[str, asyncio.Task[None]] = {}
        # Lanes that only we can write for, and for which nobody else has anything open.
        self._tokens: dict[Lane, FencingToken] = {}
        # Lanes whose positions fit, and which run once Kafka has all results of the ledger.
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
        """Take each lane as far as it gets without waiting. Returns the lanes that opened.

        `settle` waits for the session's transaction in flight. Raises the errors of both servers, after which all lanes
        have to be registered again.
        """
        # Before the early return below: a reading that ends while all lanes work may show lost commits.
        if self._forgotten.take_news():
            self._reopen_if_lost(await look_for_lost_results(self._shared, self._forgotten))
        now = time.monotonic()
        due = [lane for lane in self._lanes if not lane.is_at_work and lane.due_at <= now]
        if not due:
            return []
        await self._register(due)
        await self._confirm([lane for lane in due if lane in self._registered and self._is_fenced(lane)])
        # Read E only after the fences: until then, another producer may still commit an offset.
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
        # A group that was reset counts its generations from 1 again, below the row's. So ask the broker: a present
        # member of the group takes the lane.
        if newer and await self._shared.cluster.is_member(self._group, owner.generation, owner.member):
            answers |= await store.register(newer, owner, force=True)
        failpoints.reach("register")
        for lane in lanes:
            answer = answers[lane.name]
            if isinstance(answer, NewerOwner):
                self._lose(lane, f"held for generation {answer.generation} by {answer.member}")
                continue
            lane.wait("opening")
            # If the list has no others, it is our id alone, and nothing has to be fenced or confirmed.
            if answer.producers:
                self._registered[lane] = answer
            else:
                self._hold(lane, answer.token)

    def _hold(self, lane: Lane, token: FencingToken) -> None:
        """Note that only we can write for the lane, and drop what was read of its logs: others wrote until now."""
        self._tokens[lane] = token
        self._log_ends.forget(lane.partition)
        self._forgotten.forget(lane.partition)

    def _lose(self, lane: Lane, reason: str) -> None:
        """Leave the lane to its holder, and ask again later: the holder may end, or be an older session of ours."""
        self._shared.hooks.ended(Activity(lane.name), LostLane([]))
        lane.lose(reason, self._shared.settings.kafka_session_timeout_seconds)

    # 3. Fence

    def _is_fenced(self, lane: Lane) -> bool:
        """Whether every other producer that the lane lists is fenced. Starts the fences.

        Each producer is fenced once per session, for all lanes that list it.
        """
        waiting = []
        # All of them: the last owner may have died before it fenced the one before it.
        for producer in self._registered[lane].producers:
            task = self._fences.get(producer)
            if task is None:
                task = asyncio.create_task(self._fence(producer), name=f"fence {producer}")
                self._fences[producer] = task
            if not task.done():
                waiting.append(producer)
            elif (error := task.exception()) is not None:
                # An error does not fence: the old producer may still commit. `Halts` has the fence tried again.
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
        """Make our producer the only one in the lists of these lanes, if their epochs are still ours."""
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
            self._shared.hooks.begins(Activity(lane.name))  # a lane that reopens does not register again
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
        """If commits are lost, reopen the lanes at work, which then halt."""
        if any(reason is not None for reason in reasons):
            for lane in self._lanes:
                if lane.is_at_work:
                    lane.inbox.fail("commits of another lane are lost")

    async def _place_lane(self, lane: Lane, token: FencingToken, answer: LanePositions | LostLane | Halt | str) -> None:
        if isinstance(answer, str):
            # A lane whose result partitions have no leader has said so, and cannot read its results for that reason.
            if may_emit(lane, self._emitter):
                lane.wait(answer, SOON_SECONDS)
            return
        if isinstance(answer, LostLane):
            self._lose(lane, str(answer))
            return
        if isinstance(answer, Halt) or answer.reason_to_halt() is not None:
            # In the background: reading the results that explain a halt may take long.
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
        # Kafka had all results below this bound, so somebody set E back. Results repeat, and `audit` has to know.
        if answer.emitted < position.emitted:
            await self._shared.store.note_set_back(token, answer.emitted, position.applied, self._owner.member)
        offsets = position.applied, answer.emitted, position.emitted
        self._placed[lane] = OpenLane(lane, token, offsets, self.incarnation, self._shared.hooks)

    def _place_failed_again(self) -> None:
        """Read the positions of lanes again that failed since: their topics may have been replaced.

        A lane may wait for long until its results can be emitted. `TopicWatch` reports a change only once, and `run`
        would forget the failure.
        """
        for lane in list(self._placed):
            if (reason := lane.inbox.failure) is not None:
                del self._placed[lane]
                lane.reopen(reason)
                self._wake.set()

    # 6. Emit again, run

    async def _emit_again(self, lanes: Sequence[OpenLane]) -> None:
        """Publish the results of ledger rows [E, A): after a crash, or because an operator set the offsets back."""
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
        self._wake.set()  # more rows may be left, so the session must not rest

    def _run(self, lane: OpenLane) -> OpenLane:
        """Let the lane read from A on."""
        del self._placed[lane.lane]
        lane.inbox.changed = self._wake
        lane.run()
        # No await between `run` and `begin_at`: the reader fails a lane whose inbox and consumer differ in position.
        self._consumer.begin_at(lane.lane.partition, lane.applied)
        failpoints.reach("seek")
        self._shared.hooks.ended(Activity(lane.name))
        lane.lane.log.info("lane_open", applied=lane.applied, emitted=lane.emitted, epoch=lane.token.epoch)
        return lane


def may_emit(lane: Lane, emitter: Emitter) -> bool:
    """Whether all result partitions of a lane have a leader, by the metadata. If not, the lane waits."""
    obstacle = emitter.find_obstacle(lane.name)
    if obstacle is None:
        return True
    reason = f"its results cannot be emitted: {obstacle}"
    if lane.is_at_work:
        lane.set_state(LaneState.WAITING, reason, LEADER_SECONDS)
    else:
        lane.wait(reason, LEADER_SECONDS)
    return False
