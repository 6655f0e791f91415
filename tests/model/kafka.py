"""Kafka's transactions, as its coordinators and logs treat a client like aiokafka (no KIP-890).

A transactional id has an epoch. InitProducerId raises it, and whoever comes with an older one is refused; one epoch
serves many transactions. Ending a transaction takes time: once the end is decided (PrepareCommit, PrepareAbort), a
marker is written to each partition that took part, one after the other, and only then is it complete. Results are
visible to read_committed readers from their partition's marker on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from aiokafka.structs import TopicPartition

from worker.messages.events import Event, cause_of
from worker.stream.cluster.offset_fetch_v7 import Committed, UnstableOffset

OFFSETS = TopicPartition("__consumer_offsets", 0)
BROKERS = range(3)


class Broken(Exception):
    """What must be true is not."""


class Code(Enum):
    """What a request is answered with."""

    NONE = 0
    NOT_LEADER = 6
    INVALID_PRODUCER_EPOCH = 47
    INVALID_TXN_STATE = 48
    CONCURRENT_TRANSACTIONS = 51


class State(Enum):
    """Where the newest transaction of an id stands, as DescribeTransactions says it."""

    EMPTY = "Empty"
    ONGOING = "Ongoing"
    PREPARE_COMMIT = "PrepareCommit"
    PREPARE_ABORT = "PrepareAbort"
    COMPLETE_COMMIT = "CompleteCommit"
    COMPLETE_ABORT = "CompleteAbort"


COMPLETED = {State.PREPARE_COMMIT: State.COMPLETE_COMMIT, State.PREPARE_ABORT: State.COMPLETE_ABORT}


@dataclass(slots=True)
class Transaction:
    """What the coordinator knows of an id; `partitions` take part, and once the end is decided lack their marker."""

    epoch: int = -1
    state: State = State.EMPTY
    partitions: set[TopicPartition] = field(default_factory=set)


@dataclass(slots=True)
class Batch:
    """Results in a log, from an offset on; `committed` is None while their transaction is open."""

    id: str
    offset: int
    events: Sequence[Event]
    committed: bool | None = None


@dataclass(slots=True)
class Log:
    """A partition; `newest` are, by producer, its newest epoch and the sequence number of its newest batch."""

    batches: list[Batch] = field(default_factory=list)
    newest: dict[str, tuple[int, int]] = field(default_factory=dict)

    def end(self, committed: bool) -> int:
        """The offset behind the last record; for readers of committed records, behind the last one that is stable."""
        if committed and (hidden := [batch.offset for batch in self.batches if batch.committed is None]):
            return hidden[0]
        return self.batches[-1].offset + len(self.batches[-1].events) if self.batches else 0


class Kafka:
    """Requests happen when they arrive. Brokers do `abort`, `write_marker` and `settle_offsets` by themselves."""

    # Brokers with transaction.partition.verification.enable=false take what belongs to no open transaction.
    verifies = True
    # Brokers before 3.9.1 (KAFKA-17507): some time after its marker, a transaction ends whatever is pending then.
    settles_late = False

    def __init__(self, lanes: range, busy: Callable[[], bool], decided: Callable[[], None]) -> None:
        """`busy`: the coordinator is just writing an id's last change to its own log, and lets everybody wait.

        `decided` is called when the end of a transaction is decided, so that there are markers to write.
        """
        self.transactions: dict[str, Transaction] = {}
        self.markers: list[tuple[str, TopicPartition]] = []
        self.logs: dict[TopicPartition, Log] = {}
        self.leaderless: set[int] = set()
        self.committed: dict[int, Committed | None] = dict.fromkeys(lanes)
        self.settling: list[tuple[str, bool]] = []
        self.visible: dict[tuple[int, int], Event] = {}
        self._pending: dict[str, dict[int, Committed]] = {}
        self._busy, self._decided = busy, decided

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

    def add_partitions(self, id: str, epoch: int, partitions: Sequence[TopicPartition]) -> Code:
        """Let the open transaction write there, a new one if there is none (AddOffsetsToTxn is that of `OFFSETS`)."""
        known = self.transactions[id]
        if epoch != known.epoch:
            return Code.INVALID_PRODUCER_EPOCH
        if self._busy() or known.state in COMPLETED:
            return Code.CONCURRENT_TRANSACTIONS
        known.state = State.ONGOING
        known.partitions.update(partitions)
        return Code.NONE

    def end_txn(self, id: str, epoch: int) -> Code:
        """Decide to commit. Answered before any marker is written."""
        known = self.transactions[id]
        if epoch != known.epoch:
            return Code.INVALID_PRODUCER_EPOCH
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
        self._decided()

    # The leaders of partitions

    def identify(self) -> None:
        """Metadata, which any broker answers."""

    def produce(self, id: str, epoch: int, partition: TopicPartition, sequence: int, events: Sequence[Event]) -> Code:
        """Append a batch; one that is sent again is known by its sequence number."""
        if partition.partition in self.leaderless:
            return Code.NOT_LEADER
        log = self.log(partition)
        if log.newest.get(id, (-1, -1)) >= (epoch, sequence):
            return Code.NONE if log.newest[id][0] == epoch else Code.INVALID_PRODUCER_EPOCH
        if not self._takes_part(id, epoch, partition):
            return Code.INVALID_TXN_STATE
        log.batches.append(Batch(id, log.end(committed=False), events))
        log.newest[id] = epoch, sequence
        return Code.NONE

    def txn_offset_commit(self, id: str, epoch: int, offsets: Mapping[int, Committed]) -> Code:
        """Offsets that count once the transaction is committed; of several, those that came last."""
        if epoch < self.log(OFFSETS).newest.get(id, (-1, -1))[0]:
            return Code.INVALID_PRODUCER_EPOCH
        if not self._takes_part(id, epoch, OFFSETS):
            return Code.INVALID_TXN_STATE
        self._pending.setdefault(id, {}).update(offsets)
        return Code.NONE

    def _takes_part(self, id: str, epoch: int, partition: TopicPartition) -> bool:
        """The leader asks the transaction coordinator."""
        known = self.transactions[id]
        ongoing = known.state is State.ONGOING and known.epoch == epoch and partition in known.partitions
        return ongoing or not self.verifies

    def log(self, partition: TopicPartition) -> Log:
        """The log of a partition of results, or of offsets."""
        return self.logs.setdefault(partition, Log())

    # The group

    def forget_offsets(self, pending: bool) -> None:
        """The group is deleted, perhaps also what open transactions are about to commit for it."""
        self.committed = dict.fromkeys(self.committed)
        if pending:
            self._pending.clear()

    def fetch_offsets(self, lanes: Sequence[int], stable: bool) -> dict[int, Committed | UnstableOffset | None]:
        """E of each lane, None where there is none; an error where only `stable` offsets will do, and it may change."""
        unstable = {lane for offsets in self._pending.values() for lane in offsets} if stable else ()
        return {lane: UnstableOffset() if lane in unstable else self.committed[lane] for lane in lanes}

    def check_order(self) -> None:
        """Readers see the results of a lane in the order of its commands, in each partition of results."""
        for partition, log in self.logs.items():
            events = [event for batch in log.batches if batch.committed for event in batch.events]
            causes = [cause.offset for event in events if (cause := cause_of(event.headers)) is not None]
            if causes != sorted(causes):
                raise Broken(f"out of order: {partition} has results of {causes}")

    # What brokers do by themselves

    def write_marker(self, id: str, partition: TopicPartition) -> None:
        """One of those of an end that is decided. The last one completes it."""
        known, log = self.transactions[id], self.log(partition)
        commit = known.state is State.PREPARE_COMMIT
        self.markers.remove((id, partition))
        known.partitions.remove(partition)
        if not known.partitions:
            known.state = COMPLETED[known.state]
        log.newest[id] = known.epoch, log.newest.get(id, (-1, -1))[1]
        for batch in log.batches:
            if batch.id == id and batch.committed is None:
                batch.committed = commit
                self._show(batch.events if commit else ())
        if partition == OFFSETS:
            self.settling.append((id, commit))
            if not self.settles_late:
                self.settle_offsets()

    def settle_offsets(self) -> None:
        """What a marker has ended counts, or is dropped."""
        id, commit = self.settling.pop(0)
        offsets = self._pending.pop(id, {})
        for lane, offset in offsets.items() if commit else ():
            known = self.committed[lane]
            if known is not None and known.offset > offset.offset:
                raise Broken(f"doubled before long: E of lane {lane} went back from {known.offset} to {offset.offset}")
            self.committed[lane] = offset

    def _show(self, events: Sequence[Event]) -> None:
        for event in events:
            cause = cause_of(event.headers)
            assert cause is not None
            place = cause.partition, cause.offset
            if place in self.visible:
                raise Broken(f"doubled: the result of command {place}")
            self.visible[place] = event
