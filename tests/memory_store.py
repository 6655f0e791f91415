"""The store in memory: the same port over dictionaries, for models and tests that need no database."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from worker.domain.command import Command
from worker.domain.facts import Facts
from worker.domain.outcomes import Created
from worker.messages.events import Answer
from worker.store.port import (
    AnotherDatabase,
    ExpectedPosition,
    FencingToken,
    LaneName,
    LostLane,
    NewerOwner,
    Owner,
    Position,
    Registered,
    StoreUnavailable,
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

    def token(self, name: LaneName) -> FencingToken:
        """The right to write, of whoever registered the lane last."""
        return FencingToken(name, self.lane_id, self.epoch, self.owner.producer)


class MemoryStore:
    """See `worker.store.port.Store`. `facts` holds the whole state: fill its catalogue before use."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.passports: list[Created] = []
        self._lanes: dict[LaneName, _Lane] = {}
        self.incarnation = 0
        self.set_back: list[tuple[int, int, int]] = []
        """What `note_set_back` was told: partition, start and stop."""

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
        return Registered(lane.token(name), frozenset(lane.producers - {owner.producer}))

    async def list_only(self, tokens: Collection[FencingToken], producer: str) -> set[FencingToken]:
        """See the port."""
        ours = {token for token in tokens if self._lanes[token.name].token(token.name) == token}
        for token in ours:
            self._lanes[token.name].producers = {producer}
        return ours

    def _held(self, token: FencingToken) -> _Lane:
        lane = self._lanes[token.name]
        if lane.token(token.name) != token:
            raise LostLane([token])
        return lane

    async def positions(self, tokens: Collection[FencingToken]) -> dict[FencingToken, Position | None]:
        """See the port."""
        lanes = {token: self._lanes[token.name] for token in tokens}
        return {token: lane.position for token, lane in lanes.items() if lane.token(token.name) == token}

    async def applied(self, group_id: str, topics: Collection[str]) -> dict[tuple[str, int], int | None]:
        """See the port."""
        return {
            (name.topic, name.partition): lane.position.applied if lane.position else None
            for name, lane in self._lanes.items()
            if name.group_id == group_id and name.topic in topics
        }

    async def start_lane(self, token: FencingToken, offset: int, topic: TopicIdentity | None = None) -> Position:
        """See the port."""
        lane = self._held(token)
        position = lane.position or Position(offset, offset, offset)
        lane.position = replace(position, topic=position.topic or topic)
        return lane.position

    async def note_set_back(self, token: FencingToken, start: int, stop: int, member: str) -> None:
        """See the port."""
        self.set_back.append((token.name.partition, start, stop))

    async def mark_emitted(self, offsets: Mapping[FencingToken, int]) -> None:
        """See the port."""
        for token, offset in offsets.items():
            lane = self._lanes[token.name]
            at = lane.position
            if lane.token(token.name) == token and at is not None and at.emitted < offset <= at.applied:
                lane.position = replace(at, emitted=offset)

    async def answers(self, token: FencingToken, start: int, stop: int, limit: int) -> list[Answer]:
        """See the port."""
        ledger = self._held(token).ledger
        return [ledger[offset] for offset in sorted(ledger) if start <= offset < stop][:limit]

    async def look_up(self, commands: Sequence[Command], most_bytes: int) -> Facts:
        """See the port."""
        known = self.facts
        return Facts(
            api_keys=known.api_keys, signing_keys=known.signing_keys, companies=known.companies, products=known.products
        )

    @asynccontextmanager
    async def transaction(
        self, expected: Sequence[ExpectedPosition], commands: Sequence[Command] = (), facts: Facts | None = None
    ) -> AsyncIterator["MemoryTransaction"]:
        """See the port. Effects are applied on a clean exit only."""
        tokens = [one.token for one in expected]
        if lost := [token for token in tokens if self._lanes[token.name].token(token.name) != token]:
            raise LostLane(lost)
        if any(one.incarnation != self.incarnation for one in expected):
            raise AnotherDatabase
        for one in expected:
            position = self._lanes[one.token.name].position
            if position is None or position.applied != one.applied:
                raise StoreUnavailable(f"{one.token.name}: expected to be at {one.applied}, found {position}")
        if facts is not None:
            self._gather(facts)
        transaction = MemoryTransaction()
        yield transaction
        moved = sum(one.applied <= to for one, to in zip(expected, transaction.positions, strict=True))
        if moved != len(expected):
            raise StoreUnavailable(f"expected to move {len(expected)} lanes, got {moved}: a position goes back")
        bodies = {
            answer.passport_id: answer.value for one in transaction.answers for answer in one if not answer.replayed
        }
        for created in transaction.created:
            self.facts.absorb(created, bodies[created.passport_id])
        self.passports.extend(transaction.created)
        for one, answers, applied in zip(expected, transaction.answers, transaction.positions, strict=True):
            lane = self._lanes[one.token.name]
            assert lane.position is not None
            lane.ledger.update({answer.offset: answer for answer in answers})
            lane.position = replace(lane.position, applied=applied, emitted=max(lane.position.emitted, one.emitted))

    def _gather(self, facts: Facts) -> None:
        """Copies, so that a batch which fails leaves nothing behind."""
        facts.slots_used = dict(self.facts.slots_used)
        facts.writes = dict(self.facts.writes)
        facts.bindings = dict(self.facts.bindings)
        facts.gtin_owners = dict(self.facts.gtin_owners)
        facts.serials = dict(self.facts.serials)


class MemoryTransaction:
    """See `worker.store.port.Transaction`."""

    def __init__(self) -> None:
        self.created: Sequence[Created] = ()
        self.answers: Sequence[Sequence[Answer]] = ()
        self.positions: Sequence[int] = ()

    async def record(
        self, created: Sequence[Created], answers: Sequence[Sequence[Answer]], positions: Sequence[int]
    ) -> None:
        """See the port."""
        self.created, self.answers, self.positions = created, answers, positions
