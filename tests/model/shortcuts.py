"""What one could do instead, by oversight or to make it simpler, as replacements in the worker's code and the model's.

Each is a function whose docstring says what it does instead. It returns what to replace, by module or class.
"""

from collections.abc import Callable
from typing import Any

from aiokafka.protocol.transaction import EndTxnRequest, TxnOffsetCommitRequest

from tests.memory_store import MemoryStore
from tests.model.clients import Cluster
from tests.model.kafka import Kafka
from tests.model.loop import PROCESS
from worker.batch.batch import Batch
from worker.store.port import Owner
from worker.stream import fencing, forgotten, opening, producer, reader, session

# By module or class: the names that are replaced.
Replacements = dict[Any, dict[str, Any]]
Shortcut = Callable[[], Replacements]


def only_last_owner() -> Replacements:
    """A lane's row remembers who came last, instead of all who may have something open."""
    register = MemoryStore._register

    def replaced(store: MemoryStore, name: Any, owner: Owner, force: bool) -> Any:
        answer = register(store, name, owner, force)
        if store._lanes[name].owner is owner:
            store._lanes[name].producers = {owner.producer}
        return answer

    return {MemoryStore: {"_register": replaced}}


def e_read_early() -> Replacements:
    """E is read before the fences of step 3."""
    register, committed = opening.Opening._register, Cluster.committed

    async def register_and_read(self: Any, due: Any) -> None:
        await register(self, due)
        shared, early = self._shared, getattr(self._shared.cluster, "early", {})
        for lane in self._registered:
            if lane.partition not in early:
                early |= await committed(shared.cluster, "", [lane.partition], stable=False)
        shared.cluster.early = early

    async def as_read(self: Cluster, group: str, partitions: Any, *, stable: bool = True) -> Any:
        early = getattr(self, "early", {}) if stable else {}
        answers = await committed(self, group, partitions, stable=stable)
        return {at: early.pop(at, answer) for at, answer in answers.items()}

    return {opening.Opening: {"_register": register_and_read}, Cluster: {"committed": as_read}}


def _fence_unless(condition: Callable[[str], bool], has_ended: Callable[[], bool] | None = None) -> Replacements:
    fence = fencing.fence

    async def replaced(cluster: Any, settings: Any, producer: str, own_ended: Callable[[], bool]) -> None:
        if not condition(producer):
            await fence(cluster, settings, producer, has_ended or own_ended)

    return {opening: {"fence": replaced}}


def nobody_fenced() -> Replacements:
    """Producers of before are not fenced."""
    return _fence_unless(lambda _: True)


def own_old_id_trusted() -> Replacements:
    """After a doubt, a worker does not fence the producer that it has thrown away itself."""
    return _fence_unless(lambda producer: PROCESS.get().name in producer.split("."))  # type: ignore[union-attr]


def prepare_commit_is_fenced() -> Replacements:
    """So it is where DescribeTransactions says PrepareCommit."""
    return _fence_unless(lambda _: False, lambda: True)


def concurrent_is_fenced() -> Replacements:
    """CONCURRENT_TRANSACTIONS, as the answer to InitProducerId, is taken for a fence."""
    return {fencing: {"transaction_state": lambda _: "PrepareAbort"}}


def abort_waited_for() -> Replacements:
    """PrepareAbort does not count as fenced: only an InitProducerId that succeeds does."""
    return {fencing: {"transaction_state": lambda _: "Ongoing"}}


def end_txn_sent_again() -> Replacements:
    """The client sends EndTxn again when its answer is lost."""
    return {producer: {"_SENT_ONCE": (TxnOffsetCommitRequest,)}}


def offsets_sent_again() -> Replacements:
    """The client sends TxnOffsetCommit again when its answer is lost."""
    return {producer: {"_SENT_ONCE": (EndTxnRequest,)}}


def list_cut_unchecked() -> Replacements:
    """Step 4 does not look whether the epoch is still ours."""

    async def list_only(store: MemoryStore, tokens: Any, producer: str) -> Any:
        for token in tokens:
            store._lanes[token.name].producers = {producer}
        return set(tokens)

    return {MemoryStore: {"list_only": list_only}}


def own_id_taken_off() -> Replacements:
    """A session that ends in good order takes its id off the lists."""
    run = session.Session.run

    async def take_off(self: Any) -> None:
        await run(self)
        world = PROCESS.get().world  # type: ignore[union-attr]
        for lane in self._lanes:
            world.memory._lanes[lane.name].producers.discard(self.id)

    return {session.Session: {"run": take_off}}


def unstable_e() -> Replacements:
    """E is read without asking for stable offsets."""
    committed = Cluster.committed

    async def unstable(self: Cluster, group: str, partitions: Any, *, stable: bool = True) -> Any:
        return await committed(self, group, partitions, stable=False)

    return {Cluster: {"committed": unstable}}


def generations_ignored() -> Replacements:
    """Whoever asks for a lane gets it, of whatever generation he is."""
    register = MemoryStore._register
    return {MemoryStore: {"_register": lambda store, name, owner, _: register(store, name, owner, True)}}


def old_polls_fed() -> Replacements:
    """What a poll has fetched goes to its lane without a look at whether the lane was opened anew meanwhile."""
    is_current = property(lambda poll: poll.lane.is_at_work and poll.lane.inbox.failure is None)
    return {reader._Poll: {"is_current": is_current}}


def batches_unchecked() -> Replacements:
    """Postgres takes any commands for a lane, not only those that follow on where it stands."""
    return {Batch: {"check_offsets": lambda _: None}}


def lower_bound_believed() -> Replacements:
    """Where Kafka has forgotten E, it is taken from Postgres, which may not know of the last results."""

    async def nothing(_: Any, starts: Any) -> Any:
        return dict.fromkeys(starts, 0)

    return {forgotten: {"read_ends": nothing}}


def nothing_verified() -> Replacements:
    """Brokers with transaction.partition.verification.enable=false: they take what belongs to no open transaction."""
    return {Kafka: {"verifies": False}}


def offsets_settle_late() -> Replacements:
    """Brokers before 3.9.1 (KAFKA-17507): some time after its marker, a transaction ends whatever is pending then."""
    return {Kafka: {"settles_late": True}}


def acknowledgements_ignored() -> Replacements:
    """The worker commits without waiting until the results were taken."""

    async def deliver_all(self: Any, deliveries: Any) -> None:
        for delivery in deliveries:
            builder = self._producer.create_batch()
            for event in delivery.events:
                producer._append(builder, event)
            await self._submit(builder, delivery.target)

    return {producer.Emitter: {"_deliver_all": deliver_all}}


_FREEZING: dict[str, Any] = {"kinds": ("freeze", "rebalance"), "faults": 12}
_LATE: dict[str, Any] = {"kinds": ("rebalance", "freeze"), "faults": 4, "loss": 0.05, "lateness": 1.0}

# Shortcuts that lose or double results, some only together, and the weather in which that happens soon.
UNSAFE: dict[tuple[Shortcut, ...], dict[str, Any]] = {
    (only_last_owner,): {"kinds": ("rebalance",), "faults": 6, "loss": 0.0, "doubt": 0.0, "lasts": 3.0}
    | {"freeze": 6.0, "seconds": 0.02, "markers": 0.01, "moments": ("register", "produce"), "strikes": 0.4},
    (e_read_early,): _FREEZING | {"freeze": 4.0, "moments": ("register", "produce")},
    (nobody_fenced,): _FREEZING,
    (concurrent_is_fenced,): _FREEZING | {"markers": 0.5},
    (prepare_commit_is_fenced,): _FREEZING | {"markers": 0.5},
    (end_txn_sent_again,): _LATE | {"unlucky": "end_txn", "kinds": ("rebalance",)},
    (offsets_sent_again,): _LATE
    | {"unlucky": "txn_offset_commit", "kinds": ("rebalance",), "seconds": 0.1, "markers": 0.01, "lasts": 3.0},
    # Two guards, each of which is enough: stable offsets, and a fence of our own old producers.
    (own_old_id_trusted, unstable_e): _LATE | {"unlucky": "end_txn"},
    (list_cut_unchecked,): _FREEZING
    | {"unlucky": "list_only", "loss": 0.05, "lateness": 1.0, "freeze": 4.0, "moments": ("list_only", "produce")},
    # Two guards against offsets that are committed after EndTxn's answer.
    (own_id_taken_off, unstable_e): {"kinds": ("rebalance",), "faults": 12, "markers": 0.5},
    (lower_bound_believed,): {"kinds": ("forget",), "faults": 4},
    # Two guards against what was fetched before a lane was opened anew.
    (old_polls_fed, batches_unchecked): {"kinds": ("hang",), "faults": 10, "loss": 0.12, "doubt": 0.5}
    | {"seconds": 0.01, "lasts": 3.0},
    (acknowledgements_ignored,): {},
    (offsets_settle_late,): {"kinds": ("freeze",), "faults": 2, "moments": ("txn_offset_commit",)}
    | {"markers": 0.1, "seconds": 0.05, "freeze": 4.0},
}

# The first schedules that catch the rarest of them, so that tests need not run those before.
RARE: dict[tuple[Shortcut, ...], int] = {
    (offsets_sent_again,): 187,
    (list_cut_unchecked,): 116,
    (concurrent_is_fenced,): 98,
    (end_txn_sent_again,): 94,
    (only_last_owner,): 39,
}

# Each of these alone does no harm.
HARMLESS: tuple[Shortcut, ...] = (
    generations_ignored,  # Generations only keep members from taking each other's lanes for nothing.
    abort_waited_for,  # An abort that is under way is a fence already; to wait for its end takes longer.
    own_old_id_trusted,
    own_id_taken_off,
    unstable_e,
    old_polls_fed,
    batches_unchecked,
    nothing_verified,  # What is late is refused by its epoch, too.
)


def name_of(shortcuts: tuple[Shortcut, ...]) -> str:
    """Their names, as tests and the command line have them."""
    return "+".join(shortcut.__name__ for shortcut in shortcuts)
