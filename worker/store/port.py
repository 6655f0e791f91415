"""The small port between the worker and its store: lanes, and one transaction a turn."""

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
    """One input partition as one consumer group reads it."""

    group_id: str
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class FencingToken:
    """The right to write for a lane, until somebody raises its epoch.

    `holder` is the transactional id that registered the lane last. An epoch can come again, after lost commits; an id
    never does.
    """

    name: LaneName
    lane_id: int
    epoch: int
    holder: str

    @property
    def held(self) -> tuple[int, int, str]:
        """What the lane's row has as long as the token is good: id, epoch and holder."""
        return self.lane_id, self.epoch, self.holder


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """Which topic of which cluster offsets count in, as Kafka's tools print the ids; a name alone can be used again."""

    cluster_id: str
    topic_id: str


@dataclass(frozen=True, slots=True)
class Owner:
    """Who opens lanes: a member of the group in one of its generations, and the id of its transactional producer."""

    generation: int
    member: str
    producer: str


@dataclass(frozen=True, slots=True)
class Registered:
    """A lane that is the owner's now; `producers` are the ids of others that may still have something open for it."""

    token: FencingToken
    producers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Position:
    """Offsets of a lane: A (`applied`), a lower bound of E (`emitted`), and where its ledger starts.

    `topic` is what they count in, None as long as the lane has not learned it.
    """

    applied: int
    emitted: int
    ledger_from: int
    topic: TopicIdentity | None = None


@dataclass(frozen=True, slots=True)
class ExpectedPosition:
    """What a lane brings to a turn: its token, where it has to stand (A), and a lower bound of E to keep along.

    `incarnation` is that of the store when the lane was opened.
    """

    token: FencingToken
    applied: int
    emitted: int
    incarnation: int = 0


@dataclass(frozen=True, slots=True)
class NewerOwner:
    """The lane is held for a generation of the group that is newer than ours."""

    generation: int
    member: str


class LostLane(Exception):
    """Somebody else holds these lanes now: whatever was in flight has had no effect."""

    def __init__(self, tokens: Iterable[FencingToken]) -> None:
        self.tokens = frozenset(tokens)
        told = (f"{one.name.topic}/{one.name.partition} (epoch {one.epoch})" for one in self.tokens)
        super().__init__(f"a newer epoch holds {', '.join(sorted(told))}")


class Retriable(Exception):
    """The transaction was rolled back through no fault of a record (deadlock, serialization). Run it again."""


class ConcurrentUpdate(Retriable):
    """Another writer came between facts and effects. Fresh facts will tell; where they never do, narrow it down."""


class BatchTooLarge(Exception):
    """What belongs to these records is too much for one transaction. Nothing was done; come again with fewer."""


class BadRecord(Exception):
    """The database refused the data of some record of the turn, and rolled back. Narrow it down."""


class StoreUnavailable(Exception):
    """The database cannot be reached, or a commit's answer was lost: the position will tell. Reopen the lane."""


class StoreSlow(StoreUnavailable):
    """The database did not finish in its time, and what was begun was rolled back. Less at once may go through."""


class AnotherDatabase(StoreUnavailable):
    """Another database answers than the one that lanes were opened on: perhaps a copy, which lacks commits."""

    def __init__(self) -> None:
        super().__init__("another database answers than the one that these lanes were opened on")


class Transaction(Protocol):
    """One transaction over the commands of one or more lanes: gather once, record once."""

    async def gather(self, commands: Sequence[Command], facts: Facts) -> None:
        """Lock what the commands may change, in the protocol's order, and add all that decisions look at to `facts`.

        These hold what `look_up` found for the commands. Raises `BatchTooLarge` where the commands would replay several
        events that are too much together.
        """
        ...

    async def record(
        self, created: Sequence[Created], answers: Sequence[Sequence[Answer]], positions: Sequence[int]
    ) -> None:
        """Write effects and ledger rows, and move each lane to its new position; an entry a lane, in order."""
        ...


class Store(Protocol):
    """Every method raises `StoreUnavailable` while the database cannot be reached."""

    @property
    def incarnation(self) -> int:
        """Grows when another database answers than before: perhaps a copy, which lacks commits."""
        ...

    async def register(
        self, names: Collection[LaneName], owner: Owner, *, force: bool = False
    ) -> dict[LaneName, Registered | NewerOwner]:
        """Raise the epochs of lanes of one topic, and list the owner's producer; `force` where generations were reset.

        Nothing happens to a lane that a member of a newer generation holds.
        """
        ...

    async def list_only(self, tokens: Collection[FencingToken], producer: str) -> set[FencingToken]:
        """Forget all producers of these lanes but one, since the others are fenced; the tokens that are still good."""
        ...

    async def positions(self, tokens: Collection[FencingToken]) -> dict[FencingToken, Position | None]:
        """Of those tokens that are still good; None for a lane that never ran."""
        ...

    async def applied(self, group_id: str, topic: str) -> dict[int, int | None]:
        """A of every lane of a group on a topic, by partition; None for one that never ran."""
        ...

    async def start_lane(self, token: FencingToken, offset: int, topic: TopicIdentity | None = None) -> Position:
        """Begin a lane that never ran at `offset`, and note its topic where it is not known yet.

        The position that it has then. Raises `LostLane`.
        """
        ...

    async def note_set_back(self, token: FencingToken, start: int, stop: int, member: str) -> None:
        """Keep that results of [start, stop) come again, since somebody set the group's offset back."""
        ...

    async def mark_emitted(self, offsets: Mapping[FencingToken, int]) -> None:
        """Raise lower bounds of E: every answer below is in Kafka. No effect where a token is no longer good."""
        ...

    async def answers(self, token: FencingToken, start: int, stop: int, limit: int) -> list[Answer]:
        """The first ledger rows of [start, stop) in order: at most `limit`, fewer where they are large."""
        ...

    async def look_up(self, commands: Sequence[Command], most_bytes: int) -> Facts:
        """Keys, companies and products that the commands name: no turn changes them, so they need no lock.

        Raises `BatchTooLarge` where they name several products that are larger than `most_bytes` together.
        """
        ...

    def transaction(self, expected: Sequence[ExpectedPosition]) -> AbstractAsyncContextManager[Transaction]:
        """A transaction for these lanes that commits on a clean exit.

        Raises `LostLane` of those whose epoch is not ours, `StoreUnavailable` where a lane is somewhere else, and
        `Retriable`, `ConcurrentUpdate`, `BadRecord` or `StoreUnavailable` as the database fails.
        """
        ...
