"""The store in memory: the same port over dictionaries, for models and tests that need no database."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from worker.domain.command import Command
from worker.domain.facts import Facts
from worker.domain.outcomes import Created
from worker.messages.events import Answer
from worker.store.port import (
    Hold,
    LaneName,
    LostLane,
    NewerOwner,
    Owner,
    Position,
    Registered,
    Stake,
    StoreAway,
    TopicIdentity,
)

_NOBODY = Owner(-1, "", "")


@dataclass(slots=True)
class _Lane:
    lane_id: int
    epoch: int = 0
    owner: Owner = _NOBODY
    producers: set[str] = field(default_factory=set)
    position: Position | None = None
    ledger: dict[int, Answer] = field(default_factory=dict)


class MemoryStore:
    """See `worker.store.port.Store`. `facts` holds the whole state: fill its catalogue before use."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.passports: list[Created] = []
        self._lanes: dict[LaneName, _Lane] = {}

    async def register(
        self, names: Collection[LaneName], owner: Owner, *, force: bool = False
    ) -> dict[LaneName, Registered | NewerOwner]:
        """See the port."""
        return {name: self._register(name, owner, force) for name in names}

    def _register(self, name: LaneName, owner: Owner, force: bool) -> Registered | NewerOwner:
        lane = self._lanes.setdefault(name, _Lane(len(self._lanes) + 1))
        if owner.generation < lane.owner.generation and not force:
            return NewerOwner(lane.owner.generation, lane.owner.member)
        lane.epoch, lane.owner = lane.epoch + 1, owner
        lane.producers |= {owner.producer}
        return Registered(Hold(name, lane.lane_id, lane.epoch), frozenset(lane.producers - {owner.producer}))

    async def list_only(self, holds: Collection[Hold], producer: str) -> set[Hold]:
        """See the port."""
        ours = {hold for hold in holds if self._lanes[hold.name].epoch == hold.epoch}
        for hold in ours:
            self._lanes[hold.name].producers = {producer}
        return ours

    def _held(self, hold: Hold) -> _Lane:
        lane = self._lanes[hold.name]
        if lane.epoch != hold.epoch:
            raise LostLane([hold])
        return lane

    async def positions(self, holds: Collection[Hold]) -> dict[Hold, Position | None]:
        """See the port."""
        lanes = {hold: self._lanes[hold.name] for hold in holds}
        return {hold: lane.position for hold, lane in lanes.items() if lane.epoch == hold.epoch}

    async def start_lane(self, hold: Hold, offset: int, topic: TopicIdentity | None = None) -> Position:
        """See the port."""
        lane = self._held(hold)
        position = lane.position or Position(offset, offset, offset)
        lane.position = replace(position, topic=position.topic or topic)
        return lane.position

    async def mark_emitted(self, offsets: Mapping[Hold, int]) -> None:
        """See the port."""
        for hold, offset in offsets.items():
            lane = self._lanes[hold.name]
            at = lane.position
            if lane.epoch == hold.epoch and at is not None and at.emitted < offset <= at.applied:
                lane.position = replace(at, emitted=offset)

    async def answers(self, hold: Hold, start: int, stop: int, limit: int) -> list[Answer]:
        """See the port."""
        ledger = self._held(hold).ledger
        return [ledger[offset] for offset in sorted(ledger) if start <= offset < stop][:limit]

    async def look_up(self, commands: Sequence[Command], most_bytes: int) -> Facts:
        """See the port."""
        known = self.facts
        return Facts(api_keys=known.api_keys, companies=known.companies, products=known.products)

    @asynccontextmanager
    async def batch(self, stakes: Sequence[Stake]) -> AsyncIterator["MemoryBatch"]:
        """See the port. Effects are applied on a clean exit only."""
        if lost := [stake.hold for stake in stakes if self._lanes[stake.hold.name].epoch != stake.hold.epoch]:
            raise LostLane(lost)
        for stake in stakes:
            position = self._lanes[stake.hold.name].position
            if position is None or position.applied != stake.applied:
                raise StoreAway(f"{stake.hold.name}: expected to be at {stake.applied}, found {position}")
        batch = MemoryBatch(self.facts)
        yield batch
        bodies = {answer.passport_id: answer.value for one in batch.answers for answer in one if not answer.replayed}
        for created in batch.created:
            self.facts.absorb(created, bodies[created.passport_id])
        self.passports.extend(batch.created)
        for stake, answers, applied in zip(stakes, batch.answers, batch.positions, strict=True):
            lane = self._lanes[stake.hold.name]
            assert lane.position is not None
            lane.ledger.update({answer.offset: answer for answer in answers})
            lane.position = replace(lane.position, applied=applied, emitted=max(lane.position.emitted, stake.emitted))


class MemoryBatch:
    """See `worker.store.port.Batch`."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.created: Sequence[Created] = ()
        self.answers: Sequence[Sequence[Answer]] = ()
        self.positions: Sequence[int] = ()

    async def gather(self, commands: Sequence[Command], facts: Facts) -> None:
        """See the port. Copies, so that a batch which fails leaves nothing behind."""
        facts.slots_used = dict(self._facts.slots_used)
        facts.writes = dict(self._facts.writes)
        facts.bindings = dict(self._facts.bindings)
        facts.gtin_owners = dict(self._facts.gtin_owners)
        facts.serials = dict(self._facts.serials)

    async def record(
        self, created: Sequence[Created], answers: Sequence[Sequence[Answer]], positions: Sequence[int]
    ) -> None:
        """See the port."""
        self.created, self.answers, self.positions = created, answers, positions
