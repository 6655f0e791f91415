"""What the line tells from the side, so that it need not know of metrics, spans and logs."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

from worker.domain.catalogue import Company
from worker.domain.command import Command
from worker.domain.outcomes import Created, Outcome
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.store.port import LaneName

Stopwatch = Callable[[str], None]
"""Called at the end of each step with its name."""
Destination = Callable[[Kind, int], tuple[str, int]]
"""Topic and partition where the results of a kind go that answer commands of a partition."""


class Activity(NamedTuple):
    """What a lane is at: the batch that starts at an offset, or its opening, where that is None."""

    lane: LaneName
    start: int | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction whose effects are there, and what was decided in it; `seconds` is how long it took."""

    lanes: int
    created: Sequence[Created]
    others: Sequence[Outcome]
    companies: Mapping[str, Company]
    seconds: float


@dataclass(frozen=True, slots=True)
class Answered:
    """What a turn did of one lane: the answers to its commands, at offsets from `start` to below `stop`."""

    lane: LaneName
    start: int
    stop: int
    commands: Sequence[Command]
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Turn:
    """What a turn did, of those lanes that had commands; it took `seconds` in Postgres."""

    lanes: Sequence[Answered]
    seconds: float

    @cached_property
    def outcomes(self) -> Counter[str]:
        """How many of each: `created`, `replayed`, `overage-required`, `conflict`, `rejected`."""
        return Counter(outcome_name(answer) for one in self.lanes for answer in one.answers)


class Sent(Protocol):
    """What a Kafka transaction carries for one lane."""

    @property
    def source(self) -> tuple[str, int]:
        """Topic and partition of the commands."""
        ...

    @property
    def answers(self) -> Sequence[Answer]:
        """In order."""
        ...


class Watched(Protocol):
    """A lane, as far as it is asked when somebody looks."""

    def lag_records(self) -> float:
        """Offsets behind the end of the log."""
        ...

    def lag_seconds(self) -> float:
        """Age of the oldest command without a visible result."""
        ...


class Hooks:
    """What the line tells whoever watches it, event by event. Here nobody does.

    No event is asked for anything, and none may fail the line: what overrides one raises nothing of its own. Metrics,
    spans and logs each override the events that they want, and `together` tells them all.
    """

    # What lanes are at

    def begins(self, activity: Activity) -> None:
        """A batch was taken, or a lane opens, unless it is known to."""

    def ended(self, activity: Activity, failure: BaseException | None = None) -> None:
        """It is over, unless it was already."""

    def within(self, activities: Sequence[Activity]) -> AbstractContextManager[None]:
        """What follows belongs to these. What is raised in it has failed and ended them all."""
        return nullcontext()

    def decoded(self, batch: Activity, stop: int, commands: Sequence[Command]) -> None:
        """The records of a batch, which goes up to below `stop`, are commands."""

    def troubled(self, lane: LaneName, event: str, error: type[Exception], offset: int) -> None:
        """The current batch of a lane failed from an offset on, and goes on: `batch_failed` or `record_refused`."""

    def too_large(self) -> None:
        """What is current was too much for one transaction, and is tried in smaller parts."""

    # Turns

    def step(self, name: str) -> AbstractContextManager[None]:
        """A step of a turn, while it takes: decode, store, emit or re-emit."""
        return nullcontext()

    def stopwatch(self) -> Stopwatch:
        """A transaction in Postgres begins: what is returned is told of each of its steps."""
        return lambda step: None

    def transaction(self, system: Literal["postgresql", "kafka"], records: int) -> AbstractContextManager[None]:
        """One side's transaction for all that is current, while it takes."""
        return nullcontext()

    def sending(self, parts: Sequence[Sent], destination: Destination) -> AbstractContextManager[None]:
        """These results are being sent to where `destination` says, while it takes."""
        return nullcontext()

    def committed(self, done: Committed) -> None:
        """A transaction in Postgres was committed."""

    def turn(self, turn: Turn) -> None:
        """A turn that had commands is in Postgres."""

    def visible(self, appended_ms: Sequence[int]) -> None:
        """Results came out; when the oldest command of each batch was appended."""

    # Lanes

    def lane_opens(self, name: LaneName, lane: Watched) -> None:
        """There is such a lane here now."""

    def lane_closed(self, name: LaneName, lane: Watched) -> None:
        """It is somebody else's."""

    def lane_state(self, name: LaneName, state: str) -> None:
        """The one state that it is in now."""

    def lane_reopens(self, name: LaneName) -> None:
        """Upon doubt, or since what was fetched does not follow on what it has."""

    def lane_halted(self, name: LaneName) -> None:
        """Its positions contradict each other, and did not before."""

    def halted_lane_looked(self, name: LaneName, at: float) -> None:
        """It was looked at again, `at` a `time.time()`, and is halted still."""

    def emitted_again(self, name: LaneName, results: int) -> None:
        """So many results of the ledger are visible that Kafka lacked."""

    # The group

    def assigned(self, generation: int, partitions: int) -> None:
        """The group gave this worker so many partitions."""

    def unassigned(self) -> None:
        """It has none any more: the group shares them out anew, or the worker leaves it."""


def outcome_name(answer: Answer) -> str:
    """`created`, `replayed`, `overage-required`, `conflict` or `rejected`."""
    return "replayed" if answer.replayed else answer.kind.label
