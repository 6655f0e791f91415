"""A worker's session, step by step as the protocol has it: open, run, and upon any doubt a new one."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, ParamSpec

from tests.model.kafka import OFFSETS, Code, State
from tests.model.postgres import FencingToken, Part, Result
from tests.model.steps import Broken, Doubt, Steps, Task, Unanswered, ask

if TYPE_CHECKING:
    from tests.model.process import Process

P = ParamSpec("P")

TRIES = 8
"""Instead of a deadline: how often a client tries a request of a transaction."""


class OutOfPlace(Exception):
    """Postgres has refused commands that are not the next ones of their lane."""


class Session:
    """What a worker is for one generation of the group, and anew after any doubt. It has one producer with a new id."""

    def __init__(self, process: "Process", lanes: Iterable[int]) -> None:
        """`lanes` are all, or some, that the process was assigned."""
        world = process.world
        self.id = process.new_id()
        self.lanes = set(lanes)
        self._in_flight: Task | None = None
        self._process, self._membership = process, process.told
        self._kafka, self._postgres, self._group, self._variant = world.kafka, world.postgres, world, world.variant
        self._commands, self._dice = world.commands, world.dice
        self._reader = process.reader
        self._epoch = -1
        self._has_begun = False
        self._opening: dict[int, FencingToken] = {}
        self._fenced = {self.id}
        self._epochs: dict[int, int] = {}
        self._applied: dict[int, int] = {}
        self._emitted: dict[int, int] = {}
        self._sequences = dict.fromkeys(self.lanes, 0)
        self._turns = 0

    def live(self) -> Steps[None]:
        """Until its lanes are revoked or lost. Raises `Doubt`."""
        yield from self._start_producer()
        while True:
            try:
                yield from self._register()
                while self.lanes and not self._revoked:
                    yield from self._open()
                    yield from self._turn()
                yield from self._settle()
                if self._variant.own_id_taken_off:
                    yield from ask(self._postgres.take_off, tuple(self._epochs), self.id)
                return
            except (Unanswered, OutOfPlace):
                if self._has_begun:
                    raise Doubt from None
                # An opening that failed before the first transaction is repeated from step 2, with the same id.
            finally:
                for lane in self.lanes:
                    self._reader.inboxes[lane].close()

    @property
    def _revoked(self) -> bool:
        """Whether the worker has heard of a newer generation."""
        return self._process.told is not self._membership

    # Open

    def _start_producer(self) -> Steps[None]:
        """Step 1. Its id is in no row yet."""
        code = Code.CONCURRENT_TRANSACTIONS
        while code is not Code.NONE:
            try:
                code, self._epoch = yield from ask(self._kafka.init_producer_id, self.id)
            except Unanswered:
                continue

    def _register(self) -> Steps[None]:
        """Step 2. Raise the epochs, add the id to the lists. A newer generation keeps its lanes, unless it is over."""
        holds = yield from self._raise_epochs(self.lanes, force=self._variant.generations_ignored)
        newer = self.lanes - holds.keys()
        if newer and (yield from ask(self._group.heartbeat, self._process, self._membership)):
            holds |= yield from self._raise_epochs(newer, force=True)
        self.lanes = set(holds)
        self._opening = holds
        self._epochs = {lane: hold.epoch for lane, hold in holds.items()}
        self._applied = {}

    def _raise_epochs(self, lanes: Iterable[int], force: bool) -> Steps[dict[int, FencingToken]]:
        generation = self._membership.generation
        return (yield from ask(self._postgres.register, tuple(sorted(lanes)), self.id, generation, force))

    def _open(self) -> Steps[None]:
        """Steps 3 to 5 for the lanes that are not open yet, as far as they get; each waits for its own list only."""
        early = (yield from self._read_e(self._opening)) if self._variant.e_read_early else None
        for id in sorted({id for hold in self._opening.values() for id in hold.listed} - self._fenced):
            if (yield from self._fence(id)):
                self._fenced.add(id)
        fenced = {lane: hold.epoch for lane, hold in self._opening.items() if hold.listed <= self._fenced}
        if fenced:
            # Step 4. Where the epoch is still ours, the list becomes our id alone; elsewhere the lane is lost.
            ours = yield from ask(self._postgres.list_only, fenced, self.id)
            self._lose(fenced.keys() - ours)
            yield from self._bring_up({lane: epoch for lane, epoch in fenced.items() if lane in ours}, early)

    def _fence(self, id: str) -> Steps[bool]:
        """Step 3 for one id: InitProducerId succeeds, or an abort is under way.

        No producer of ours aborts by itself. So an abort is the coordinator's, it came with a higher epoch, and by it E
        cannot move. A commit that is under way leaves its owner the epoch, for the transaction after it.
        """
        mine = id in self._process.ids and self._variant.own_old_id_trusted
        if mine or self._variant.nobody_fenced:
            return True
        try:
            code, _ = yield from ask(self._kafka.init_producer_id, id)
            if code is Code.NONE or self._variant.concurrent_is_fenced:
                return True
            state = yield from ask(self._kafka.describe_transaction, id)
        except Unanswered:
            return False
        if state is State.PREPARE_COMMIT:
            return self._variant.prepare_commit_is_fenced
        return state is State.PREPARE_ABORT and not self._variant.abort_waited_for

    def _bring_up(self, epochs: Mapping[int, int], early: dict[int, int | Code | None] | None) -> Steps[None]:
        """Step 5. E after the fences, then A; emit [E, A) of all lanes again, in turns; go on at A."""
        answer = early or (yield from self._read_e(epochs))
        if forgotten := tuple(lane for lane in epochs if answer[lane] is None):
            answer |= yield from self._find_e(forgotten)
        applied = yield from ask(self._postgres.applied, epochs)
        self._lose(epochs.keys() - applied.keys())
        emitted = {lane: e for lane, e in answer.items() if isinstance(e, int) and lane in applied}
        if any(e > applied[lane] for lane, e in emitted.items()):
            raise Broken(f"halted: E={emitted}, A={applied}")
        while behind := [lane for lane, e in emitted.items() if e < applied[lane]]:
            again = {}
            for lane in behind:
                start, emitted[lane] = emitted[lane], min(emitted[lane] + self._dice.randint(1, 3), applied[lane])
                again[lane] = yield from ask(self._postgres.results, lane, start, emitted[lane])
            yield from self._settle()
            yield from self._emit(again)
        for lane in emitted:
            self._applied[lane] = self._emitted[lane] = applied[lane]
            self._reader.inboxes[lane].restart(applied[lane])
            del self._opening[lane]

    def _find_e(self, lanes: tuple[int, ...]) -> Steps[dict[int, int | Code]]:
        """Of lanes whose E Kafka has forgotten: the results themselves tell."""
        if self._variant.lower_bound_believed:
            return dict((yield from ask(self._postgres.lower_bounds, lanes)))
        return (yield from ask(self._kafka.published_end, lanes))

    def _read_e(self, lanes: Iterable[int]) -> Steps[dict[int, int | Code | None]]:
        return (yield from ask(self._kafka.fetch_offsets, tuple(lanes), not self._variant.unstable_e))

    def _lose(self, lanes: Iterable[int]) -> None:
        """Somebody raised the epoch: perhaps a request of our own that was late.

        So a lane that is still assigned to us is asked for again, in a session of its own.
        """
        for lane in sorted(lanes):
            self.lanes.discard(lane)
            self._opening.pop(lane, None)
            self._applied.pop(lane, None)
            self._reader.inboxes[lane].close()
            if not self._revoked:
                self._process.serve([lane])

    # Run

    def _turn(self) -> Steps[None]:
        """What waits on all lanes: in Postgres, while the Kafka part of the turn before is in flight, then in Kafka."""
        self._reader.poll()
        counts = {lane: min(self._dice.randint(0, 2), len(self._inbox(lane))) for lane in self._applied}
        turn = {lane: self._take(lane, count) for lane, count in counts.items() if count}
        if turn:
            self._turns += 1
            done = yield from ask(self._postgres.commit, turn, f"{self.id}/{self._turns}")
            if done is None:
                raise OutOfPlace
            self._lose(turn.keys() - done.keys())
            self._applied |= {lane: results[-1].offset + 1 for lane, results in done.items()}
            yield from self._settle()
            if done:
                self._in_flight = self._process.start(self._emit(done))
        elif not any(self._inbox(lane) for lane in self._applied):
            poll = self._reader.poll()
            if poll is not None:
                yield poll
            elif all(applied >= self._commands for applied in self._applied.values()):
                yield from self._settle()
                if self.lanes and not self._opening and not self._revoked:
                    yield None

    def _inbox(self, lane: int) -> list[int]:
        return self._reader.inboxes[lane].offsets

    def _take(self, lane: int, count: int) -> Part:
        waiting = self._inbox(lane)
        offsets = tuple(waiting[:count])
        del waiting[:count]
        return Part(self._epochs[lane], self._applied[lane], self._emitted[lane], offsets)

    def _settle(self) -> Steps[None]:
        """Never two Kafka parts at once. Raises the `Doubt` of the one in flight."""
        if self._in_flight is not None:
            yield self._in_flight
            self._in_flight = None

    def _emit(self, results: Mapping[int, tuple[Result, ...]]) -> Steps[None]:
        """One Kafka transaction: all results, every acknowledgement awaited, the offsets of all lanes, commit."""
        self._has_begun = True
        kafka, id, epoch = self._kafka, self.id, self._epoch
        yield from _send(True, kafka.add_partitions, id, epoch, frozenset(results))
        for lane, batch in results.items():
            self._sequences[lane] += 1
            yield from _send(True, kafka.produce, id, epoch, lane, self._sequences[lane], batch)
        offsets = {lane: batch[-1].offset + 1 for lane, batch in results.items()}
        yield from _send(True, kafka.add_partitions, id, epoch, frozenset({OFFSETS}))
        yield from _send(self._variant.offsets_sent_again, kafka.txn_offset_commit, id, epoch, offsets)
        yield from _send(self._variant.end_txn_sent_again, kafka.end_txn, id, epoch)
        self._emitted |= offsets


def _send(again: bool, call: Callable[P, Code], *args: P.args, **named: P.kwargs) -> Steps[None]:
    """What a client does with a request: when told to wait, it tries again.

    `again` says whether without an answer, too. That is harmless where a late arrival only adds a partition, or is
    known by its sequence number. Raises `Doubt`.
    """
    for _ in range(TRIES):
        try:
            code = yield from ask(call, *args, **named)
        except Unanswered:
            if not again:
                break
        else:
            if code is Code.NONE:
                return
            if code not in (Code.CONCURRENT_TRANSACTIONS, Code.NOT_LEADER):
                break
    raise Doubt
