"""Both servers in memory, and the lanes and sessions of one worker, for tests of sessions and openings.

A test module that uses this world imports `no_servers`, too: it is a fixture that all of its tests need.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from aiokafka.errors import KafkaError
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.structs import TopicPartition

from tests.contract.world import CATALOGUE, LINK_BASE, NOW_MS, OPEN, TOPIC, ask
from tests.memory_store import MemoryStore
from tests.workbench import until as eventually
from worker.batch.pipeline import Pipeline
from worker.batch.recovery import Processor
from worker.messages.envelope import Limits, Record
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.observability.hooks import Hooks, Sent
from worker.settings import Settings
from worker.store.port import ExpectedPosition, LaneName, Owner, Registered, TopicIdentity
from worker.stream import forgotten
from worker.stream import session as module
from worker.stream.cluster.offset_fetch_v7 import Committed
from worker.stream.command_reader import CommandReader
from worker.stream.dependencies import LaneDependencies
from worker.stream.inbox import Budget, Inbox
from worker.stream.lane import Lane, LaneState
from worker.stream.open_lane import OpenLane
from worker.stream.session import Session
from worker.tools.common.catalogue.facts import facts_of

GROUP = "passport-worker"


class MemoryKafka:
    """What brokers know: offsets of the group, logs, and what was emitted, turn by turn; every step is noted."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.committed_offsets: dict[int, int] = {}
        self.unserved: dict[TopicPartition, Committed] = {}
        """Offsets of topics that the settings do not name."""
        self.published: dict[int, int | None] = {}
        """How far results go, by partition; None where they may not be read."""
        self.metadata = "set by hand"
        """Beside each committed offset, which takes the place of {}."""
        self.ends: dict[int, int] = {}
        self.turns: list[dict[int, list[int]]] = []
        """The offsets that each Kafka transaction answered, by partition."""
        self.leaderless: set[int] = set()
        self.fencing = asyncio.Event()
        self.fencing.set()
        self.silent: set[int] = set()
        """Partitions of a leader that hangs until `speaking` is set."""
        self.speaking = asyncio.Event()
        self.hiding: set[int] = set()
        """Partitions whose results cannot be read until `showing` is set."""
        self.showing = asyncio.Event()
        self.failing: list[Exception] = []
        self.going_on = asyncio.Event()
        self.going_on.set()
        self.at_once = self.most_at_once = 0
        self.begun: dict[int, int] = {}
        self.fetches = 0
        """How often the session asked to fetch for the next turn."""
        """Where fetches began."""

    # As the cluster

    async def identities(self, topics: Collection[str]) -> dict[str, TopicIdentity | KafkaError | None]:
        """See `Cluster`."""
        return {topic: TopicIdentity("cluster", topic) for topic in topics}

    async def committed(
        self, group_id: str, partitions: Collection[TopicPartition], *, stable: bool = True
    ) -> dict[TopicPartition, Committed | None]:
        """See `Cluster`."""
        if stable:
            self.steps.append("offsets")
        offsets = {lane: self.committed_offsets.get(lane.partition) for lane in partitions}
        return {
            lane: None if offset is None else Committed(offset, self.metadata.format(offset))
            for lane, offset in offsets.items()
        }

    async def all_committed(self, group_id: str) -> dict[TopicPartition, Committed]:
        """See `Cluster`."""
        offsets = await self.committed(group_id, self.all_partitions(), stable=False)
        return {lane: offset for lane, offset in offsets.items() if offset is not None} | self.unserved

    async def ask_transaction_coordinator(self, transactional_id: str, request: InitProducerIdRequest) -> Any:
        """Fence an id, when `fencing` is set."""
        self.steps.append(f"fence {transactional_id}")
        await self.fencing.wait()
        return SimpleNamespace(error_code=0)

    async def is_member(self, group_id: str, generation: int, member: str) -> bool:
        """See `Cluster`."""
        return False

    # As the consumer

    def by_leader(self, partitions: Collection[TopicPartition]) -> list[list[TopicPartition]]:
        """Two leaders: one of them has the partitions that are silent, or whose results hide."""
        apart = self.silent | self.hiding
        one = [lane for lane in partitions if lane.partition not in apart]
        other = [lane for lane in partitions if lane.partition in apart]
        return [led for led in (one, other) if led]

    async def log_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """See `Consumer`."""
        if self.silent.intersection(lane.partition for lane in partitions):
            await self.speaking.wait()
        return {lane: (0, self.ends.get(lane.partition, 1_000_000)) for lane in partitions}

    def all_partitions(self) -> Collection[TopicPartition]:
        """See `Consumer`."""
        return [TopicPartition(TOPIC, partition) for partition in range(4)]

    def begin_at(self, partition: TopicPartition, offset: int) -> None:
        """Remember it."""
        self.begun[partition.partition] = offset

    def fetch_for_next_turn(self) -> None:
        """Count it. Tests hand over what there is."""
        self.fetches += 1

    # As the producer

    async def emit(self, batches: Sequence[Sent]) -> None:
        """Take a transaction, when `going_on` is set, unless it is to fail."""
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.going_on.wait()
            await asyncio.sleep(0)
            if self.failing:
                raise self.failing.pop(0)
            offsets = {batch.lane.partition: [answer.offset for answer in batch.answers] for batch in batches}
            self.turns.append(offsets)
            self.committed_offsets |= {batch.lane.partition: batch.stop for batch in batches}
        finally:
            self.at_once -= 1


class _MemoryEmitter:
    """A producer of that Kafka."""

    kafka: MemoryKafka

    def __init__(self, *_: object) -> None:
        self.has_begun = self.is_open = self.has_committed = False

    async def start(self) -> None:
        self.kafka.steps.append("init")

    async def emit(self, batches: Sequence[Sent], before_commit: Callable[[], None] = lambda: None) -> None:
        self.has_begun = self.is_open = True
        await self.kafka.emit(batches)
        before_commit()
        self.is_open, self.has_committed = False, True

    def find_obstacle(self, lane: LaneName) -> str | None:
        return f"created/{lane.partition} has no leader" if lane.partition in self.kafka.leaderless else None

    async def close(self) -> None:
        pass


class World:
    """Both servers in memory, and the lanes of one worker."""

    def __init__(self, lanes: int, batch_records: int, hooks: Hooks) -> None:
        self.kafka, self.store = MemoryKafka(), MemoryStore(facts_of(CATALOGUE))
        self.budget = Budget(12 * 1024 * 1024)
        self.settings = Settings(batch_records=batch_records)
        processor = Processor(Pipeline(self.store, LINK_BASE, hooks), hooks)
        self.shared = LaneDependencies(
            settings=self.settings,
            store=self.store,
            processor=processor,
            command_reader=CommandReader(Limits(), None),
            cluster=cast(Any, self.kafka),
            hooks=hooks,
        )
        self.lanes = [
            Lane(LaneName(GROUP, TOPIC, at), Inbox(2 * batch_records, self.budget), hooks) for at in range(lanes)
        ]
        self.session = self.another()
        self.task: asyncio.Task[None] | None = None

    def another(self) -> Session:
        """A session of all lanes."""
        return Session(Owner(1, "member", f"{GROUP}.{uuid4().hex}"), self.lanes, self.shared, self.kafka)

    def open(self, partition: int) -> OpenLane:
        """What the session knows of a lane that it has opened."""
        return self.session._open[self.lanes[partition]]

    async def start(self) -> None:
        """Let the session live until all of its lanes are at work."""
        self.begin()
        await self.until_running(*range(len(self.lanes)))

    def begin(self) -> None:
        """Let the session live."""
        self.task = asyncio.create_task(self.session.run())

    async def until_running(self, *partitions: int) -> None:
        """Wait for these lanes to be at work."""
        await self.until(lambda: all(self.lanes[one].state is LaneState.RUNNING for one in partitions))

    async def until_out(self, *stops: int) -> None:
        """Wait until the group stands there, lane by lane; -1 leaves one out."""
        await self.until(
            lambda: all(
                stop == -1 or self.kafka.committed_offsets.get(partition, 0) == stop
                for partition, stop in enumerate(stops)
            )
        )

    async def until(self, condition: Any) -> None:
        """Wait for a condition; raises what ends the session before."""
        assert self.task is not None
        task = self.task
        await eventually(lambda: task.done() or condition(), 10, f"{[(one.state, one.reason) for one in self.lanes]}")
        if task.done():
            task.result()

    def fetch(self, partition: int, count: int) -> None:
        """So many more commands of a lane."""
        inbox = self.lanes[partition].inbox
        start = inbox.fetch_offset
        inbox.put([command_at(partition, start + at) for at in range(count)], start + count)

    async def close(self) -> None:
        """Close the session, and see that it ends well."""
        assert self.task is not None
        self.session.close()
        async with asyncio.timeout(5):
            await self.task

    async def keep(self, partition: int, count: int, emitted: int = 0) -> None:
        """Answers that an owner before has left in the ledger, of which Kafka has some."""
        name = LaneName(GROUP, TOPIC, partition)
        (registered,) = (await self.store.register([name], Owner(0, "before", "old"))).values()
        assert isinstance(registered, Registered)
        await self.store.list_only([registered.token], "old")
        await self.store.start_lane(registered.token, 0)
        answers = [Answer(at, NOW_MS, Kind.REJECTED, "k", b"{}") for at in range(count)]
        async with self.store.transaction([ExpectedPosition(registered.token, 0, 0)]) as transaction:
            await transaction.record([], [answers], [count])
        self.kafka.committed_offsets[partition] = emitted


def command_at(partition: int, offset: int) -> Record:
    """A valid command as a record."""
    return ask(OPEN, partition, f"{offset}")._replace(partition=partition, offset=offset)


@pytest.fixture(autouse=True)
def no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session gets its producer from here; and one that rests rests for long, so that nothing slow is hidden."""
    monkeypatch.setattr(module, "Emitter", _MemoryEmitter)
    monkeypatch.setattr(forgotten, "read_ends", _read_ends)
    monkeypatch.setattr(module, "IDLE_SECONDS", 30.0)


async def _read_ends(
    shared: LaneDependencies, starts: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int | None]:
    """As results say it that the world's Kafka has. Those of commands in front of `starts` are not looked at."""
    kafka = cast(MemoryKafka, shared.cluster)
    by_number = {lane.partition: start for lane, start in starts.items()}
    kafka.steps.append(f"results {by_number}")
    if kafka.hiding.intersection(by_number):
        await kafka.showing.wait()
    ends = {lane: kafka.published.get(lane.partition, 0) for lane in starts}
    return {lane: 0 if end is not None and end <= starts[lane] else end for lane, end in ends.items()}


def make_world(lanes: int, batch_records: int = 100, hooks: Hooks | None = None) -> World:
    """A world whose sessions get their producers from its own Kafka."""
    world = World(lanes, batch_records, hooks or Hooks())
    _MemoryEmitter.kafka = world.kafka
    return world
