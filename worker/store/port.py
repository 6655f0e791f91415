"""The port between the worker and its store: lanes, and one transaction per turn."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from worker.domain.command import Command
from worker.domain.facts import Facts
from worker.domain.outcomes import Created
from worker.messages.events import Answer


@dataclass(frozen=True, slots=True)
class LaneName:
    """An input partition, as one consumer group reads it."""

    group_id: str
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class FencingToken:
    """The right to write for a lane, until another worker raises its epoch.

    `holder` is the transactional id that registered the lane last. After lost commits an epoch can come again; an id
    cannot.
    """

    name: LaneName
    lane_id: int
    epoch: int
    holder: str

    @property
    def held(self) -> tuple[int, int, str]:
        """Id, epoch and holder, as in the row of the lane while the token is good."""
        return self.lane_id, self.epoch, self.holder


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """The ids of a topic and its cluster, as Kafka's tools print them. A topic that is created again has another id."""

    cluster_id: str
    topic_id: str


@dataclass(frozen=True, slots=True)
class Owner:
    """A member of the group in one generation, and the id of its transactional producer."""

    generation: int
    member: str
    producer: str


@dataclass(frozen=True, slots=True)
class Registered:
    """A lane that belongs to the owner now. The other `producers` may still have a transaction open for it."""

    token: FencingToken
    producers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Position:
    """Offsets of a lane: A (`applied`), a lower bound of E (`emitted`), and the start of its ledger.

    They are offsets of `topic`, which is None until the lane learns it.
    """

    applied: int
    emitted: int
    ledger_from: int
    topic: TopicIdentity | None = None


@dataclass(frozen=True, slots=True)
class ExpectedPosition:
    """The token of a lane in a turn, the A that the lane must have, and a lower bound of E to note.

    `incarnation` is the store's when the lane was opened.
    """

    token: FencingToken
    applied: int
    emitted: int
    incarnation: int = 0


@dataclass(frozen=True, slots=True)
class NewerOwner:
    """A member of a newer generation of the group holds the lane."""

    generation: int
    member: str


class LostLane(Exception):
    """Another worker holds these lanes now. The transaction in flight has had no effect."""

    def __init__(self, tokens: Iterable[FencingToken]) -> None:
        self.tokens = frozenset(tokens)
        names = (f"{token.name.topic}/{token.name.partition} (epoch {token.epoch})" for token in self.tokens)
        super().__init__(f"a newer epoch holds {', '.join(sorted(names))}")


class Retriable(Exception):
    """The database rolled back, and no record is to blame (deadlock, serialization). Run the transaction again."""


class ConcurrentUpdate(Retriable):
    """Another writer changed what the facts said. Run again with fresh facts; if that never helps, narrow down."""


class BatchTooLarge(Exception):
    """The facts of these records are too large for one transaction. Nothing was done. Try fewer records."""


class BadRecord(Exception):
    """The database refused the data of some record, and rolled back. Find out which one."""


class StoreUnavailable(Exception):
    """The database is away, or the answer to a COMMIT was lost. Open the lanes again to learn their positions."""


class StoreSlow(StoreUnavailable):
    """The database did not finish in time, and rolled back. A smaller transaction may go through."""


class AnotherDatabase(StoreUnavailable):
    """Another database answers than when the lanes were opened: perhaps a copy, which lacks commits."""

    def __init__(self) -> None:
        super().__init__("another database answers than when these lanes were opened")


class Transaction(Protocol):
    """A transaction over the commands of one or more lanes. Call `record` once."""

    async def record(
        self, created: Sequence[Created], answers: Sequence[Sequence[Answer]], positions: Sequence[int]
    ) -> None:
        """Write effects and ledger rows, and move lanes. `answers` and `positions` have one entry per lane."""


class Store(Protocol):
    """The store. Every method raises `StoreUnavailable` while the database is away."""

    @property
    def incarnation(self) -> int:
        """Grows when another database answers than before: it may be a copy that lacks commits."""

    async def register(
        self, names: Collection[LaneName], owner: Owner, *, force: bool = False
    ) -> dict[LaneName, Registered | NewerOwner]:
        """Raise the epochs of lanes of one group, and list the owner's producer.

        A lane that a member of a newer generation holds stays as it is. `force` takes it, for a group that was reset.
        """

    async def list_only(self, tokens: Collection[FencingToken], producer: str) -> set[FencingToken]:
        """List this producer alone for these lanes, once the others are fenced. Returns the tokens still good."""

    async def positions(self, tokens: Collection[FencingToken]) -> dict[FencingToken, Position | None]:
        """The positions for those tokens that are still good; None for a lane that never ran."""

    async def applied(self, group_id: str, topics: Collection[str]) -> dict[tuple[str, int], int | None]:
        """A of every lane of a group on these topics, by topic and partition; None for a lane that never ran."""

    async def start_lane(self, token: FencingToken, offset: int, topic: TopicIdentity | None = None) -> Position:
        """Begin a lane that never ran at `offset`, and note its topic if the lane does not know it.

        Returns the position of the lane. Raises `LostLane`.
        """

    async def note_set_back(self, token: FencingToken, start: int, stop: int, member: str) -> None:
        """Note that results of [start, stop) are published again, since somebody set the group's offset back."""

    async def mark_emitted(self, offsets: Mapping[FencingToken, int]) -> None:
        """Raise lower bounds of E: Kafka has every answer below them. Skips tokens that are no longer good."""

    async def answers(self, token: FencingToken, start: int, stop: int, limit: int) -> list[Answer]:
        """The first answers of [start, stop) in the ledger, in order: at most `limit`, and fewer if they are large."""

    async def look_up(self, commands: Sequence[Command], most_bytes: int) -> Facts:
        """The keys, companies and products that the commands name. No turn changes them, so they need no lock.

        Raises `BatchTooLarge` if several products together are larger than `most_bytes`.
        """

    def transaction(
        self, expected: Sequence[ExpectedPosition], commands: Sequence[Command] = (), facts: Facts | None = None
    ) -> AbstractAsyncContextManager[Transaction]:
        """A transaction for these lanes that commits on a clean exit.

        On entry it locks the rows that the commands may change, and adds all other facts to those of `look_up`. Raises
        `LostLane` for lanes that another worker holds, `StoreUnavailable` if a lane has another position,
        `BatchTooLarge` if the commands replay several events that are too large together, and `Retriable`,
        `ConcurrentUpdate`, `BadRecord` or `StoreUnavailable` when the database fails.
        """
