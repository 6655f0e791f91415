"""Kafka's transactions, as its coordinators and logs treat a client like aiokafka (no KIP-890).

A transactional id has an epoch. InitProducerId raises it, and whoever comes with an older one is refused; one epoch
serves many transactions. Ending a transaction takes time: once the end is decided (PrepareCommit, PrepareAbort), a
marker is written to each partition that took part, one after the other, and only then is it complete. Results are
visible to read_committed readers from their partition's marker on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from tests.model.postgres import Result
from tests.model.steps import Broken
from tests.model.variant import Variant

OFFSETS = -1
"""The partition of the group's offsets. The others are those of the results, one a lane."""


class _Named(Enum):
    def __repr__(self) -> str:
        return self.name


class Code(_Named):
    """What a request is answered with."""

    NONE = auto()
    CONCURRENT_TRANSACTIONS = auto()
    PRODUCER_FENCED = auto()
    INVALID_TXN_STATE = auto()
    NOT_LEADER = auto()
    UNSTABLE_OFFSET_COMMIT = auto()


class State(_Named):
    """Where the newest transaction of an id stands."""

    EMPTY = auto()
    ONGOING = auto()
    PREPARE_COMMIT = auto()
    PREPARE_ABORT = auto()
    COMPLETE_COMMIT = auto()
    COMPLETE_ABORT = auto()


COMPLETED = {State.PREPARE_COMMIT: State.COMPLETE_COMMIT, State.PREPARE_ABORT: State.COMPLETE_ABORT}


@dataclass(slots=True)
class Transaction:
    """What the coordinator knows of an id; `partitions` take part, and once the end is decided lack their marker."""

    epoch: int = -1
    state: State = State.EMPTY
    partitions: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Batch:
    """Results in a log; `committed` is None while their transaction is open."""

    id: str
    results: tuple[Result, ...]
    committed: bool | None = None


@dataclass(slots=True)
class Log:
    """A partition; `newest` are, by producer, its newest epoch and the sequence number of its newest batch."""

    batches: list[Batch] = field(default_factory=list)
    newest: dict[str, tuple[int, int]] = field(default_factory=dict)


class Kafka:
    """Requests happen when they arrive. Brokers do `abort`, `write_marker` and `settle_offsets` by themselves."""

    def __init__(self, lanes: range, variant: Variant, busy: Callable[[], bool]) -> None:
        """`busy`: the coordinator is just writing an id's last change to its own log, and lets everybody wait."""
        self.transactions: dict[str, Transaction] = {}
        self.markers: list[tuple[str, int]] = []
        self.logs = {lane: Log() for lane in (*lanes, OFFSETS)}
        self.leaderless: set[int] = set()
        self.committed: dict[int, int | None] = dict.fromkeys(lanes)
        self.settling: list[tuple[str, bool]] = []
        self._pending: dict[str, dict[int, int]] = {}
        self._visible: set[tuple[int, int]] = set()
        self._variant, self._busy = variant, busy

    # The transaction coordinator

    def init_producer_id(self, id: str) -> tuple[Code, int]:
        """A new epoch. What is open is ended first: the client has to ask again."""
        known = self.transactions.setdefault(id, Transaction())
        if self._busy() or known.state in COMPLETED:
            return Code.CONCURRENT_TRANSACTIONS, -1
        if known.state is State.ONGOING:
            self.abort(id)
            return Code.CONCURRENT_TRANSACTIONS, -1
        known.epoch, known.state = known.epoch + 1, State.EMPTY
        return Code.NONE, known.epoch

    def add_partitions(self, id: str, epoch: int, partitions: frozenset[int]) -> Code:
        """Let the open transaction write there, a new one if there is none (AddOffsetsToTxn is that of `OFFSETS`)."""
        known = self.transactions[id]
        if epoch != known.epoch:
            return Code.PRODUCER_FENCED
        if self._busy() or known.state in COMPLETED:
            return Code.CONCURRENT_TRANSACTIONS
        known.state = State.ONGOING
        known.partitions |= partitions
        return Code.NONE

    def end_txn(self, id: str, epoch: int) -> Code:
        """Decide to commit. Answered before any marker is written."""
        known = self.transactions[id]
        if epoch != known.epoch:
            return Code.PRODUCER_FENCED
        if self._busy() or known.state is State.PREPARE_COMMIT:
            return Code.CONCURRENT_TRANSACTIONS
        if known.state is State.ONGOING:
            self._prepare(id, State.PREPARE_COMMIT)
        return Code.NONE if known.state in (State.PREPARE_COMMIT, State.COMPLETE_COMMIT) else Code.INVALID_TXN_STATE

    def describe_transaction(self, id: str) -> State:
        """DescribeTransactions."""
        return self.transactions[id].state

    def abort(self, id: str) -> None:
        """The coordinator itself ends what is open, for a fence or after a timeout, and raises the epoch with it."""
        self.transactions[id].epoch += 1
        self._prepare(id, State.PREPARE_ABORT)

    def _prepare(self, id: str, state: State) -> None:
        known = self.transactions[id]
        known.state = state
        self.markers += ((id, partition) for partition in sorted(known.partitions))

    # The leaders of partitions

    def produce(self, id: str, epoch: int, partition: int, sequence: int, results: tuple[Result, ...]) -> Code:
        """Append a batch; one that is sent again is known by its sequence number."""
        if partition in self.leaderless:
            return Code.NOT_LEADER
        log = self.logs[partition]
        if log.newest.get(id, (-1, -1)) >= (epoch, sequence):
            return Code.NONE if log.newest[id][0] == epoch else Code.PRODUCER_FENCED
        if not self._takes_part(id, epoch, partition):
            return Code.INVALID_TXN_STATE
        log.batches.append(Batch(id, results))
        log.newest[id] = epoch, sequence
        return Code.NONE

    def txn_offset_commit(self, id: str, epoch: int, offsets: Mapping[int, int]) -> Code:
        """Offsets that count once the transaction is committed; of several, those that came last."""
        if epoch < self.logs[OFFSETS].newest.get(id, (-1, -1))[0]:
            return Code.PRODUCER_FENCED
        if not self._takes_part(id, epoch, OFFSETS):
            return Code.INVALID_TXN_STATE
        self._pending.setdefault(id, {}).update(offsets)
        return Code.NONE

    def _takes_part(self, id: str, epoch: int, partition: int) -> bool:
        """The leader asks the transaction coordinator."""
        known = self.transactions[id]
        ongoing = known.state is State.ONGOING and known.epoch == epoch and partition in known.partitions
        return ongoing or self._variant.nothing_verified

    def identify(self) -> None:
        """Which topic that is. Any broker answers, so one that hangs may be asked."""

    def published_end(self, lanes: tuple[int, ...]) -> dict[int, int | Code]:
        """The offset behind the last visible result of each lane; an error where open transactions hide some."""
        ends: dict[int, int | Code] = dict.fromkeys(lanes, 0)
        for lane in lanes:
            for batch in self.logs[lane].batches:
                if batch.committed is None:
                    ends[lane] = Code.UNSTABLE_OFFSET_COMMIT
                    break
                if batch.committed:
                    ends[lane] = batch.results[-1].offset + 1
        return ends

    def forget_offsets(self, pending: bool) -> None:
        """The group is deleted, perhaps also what open transactions are about to commit for it."""
        self.committed = dict.fromkeys(self.committed)
        if pending:
            self._pending.clear()

    def fetch_offsets(self, lanes: tuple[int, ...], stable: bool) -> dict[int, int | Code | None]:
        """E of each lane, None where there is none; an error where only `stable` offsets will do, and it may change."""
        unstable = {lane for offsets in self._pending.values() for lane in offsets} if stable else ()
        return {lane: Code.UNSTABLE_OFFSET_COMMIT if lane in unstable else self.committed[lane] for lane in lanes}

    def write_marker(self, id: str, partition: int) -> None:
        """One of those of an end that is decided. The last one completes it."""
        known, log = self.transactions[id], self.logs[partition]
        commit = known.state is State.PREPARE_COMMIT
        self.markers.remove((id, partition))
        known.partitions.remove(partition)
        if not known.partitions:
            known.state = COMPLETED[known.state]
        log.newest[id] = known.epoch, log.newest.get(id, (-1, -1))[1]
        for batch in log.batches:
            if batch.id == id and batch.committed is None:
                batch.committed = commit
                self._show(batch.results if commit else ())
        if partition == OFFSETS:
            self.settling.append((id, commit))
            if not self._variant.offsets_settle_late:
                self.settle_offsets()

    def settle_offsets(self) -> None:
        """What a marker has ended counts, or is dropped."""
        id, commit = self.settling.pop(0)
        offsets = self._pending.pop(id, {})
        if commit:
            self.committed |= offsets

    def _show(self, results: tuple[Result, ...]) -> None:
        for result in results:
            if result[:2] in self._visible:
                raise Broken(f"doubled: {result}")
            self._visible.add(result[:2])
