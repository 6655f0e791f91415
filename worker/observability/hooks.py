"""What the line tells from the side, so that it need not know of metrics and logs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from worker.domain.catalogue import Company
from worker.domain.command import Command
from worker.domain.outcomes import Created, Outcome
from worker.messages.events import Answer
from worker.store.port import LaneName

Stopwatch = Callable[[str], float]
"""Called at the end of each step with its name; seconds since the first one began."""


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


class Watched(Protocol):
    """A lane, as far as it is asked when somebody looks."""

    def lag_records(self) -> float:
        """Offsets behind the end of the log."""
        ...

    def lag_seconds(self) -> float:
        """Age of the oldest command without a visible result."""
        ...


class Hooks:
    """What the line tells whoever watches it, event by event. Here nobody does: `Telemetry` overrides all of it.

    No event is asked for anything, and none may fail the line: what overrides one raises nothing.
    """

    # Turns

    def step(self, name: str) -> AbstractContextManager[None]:
        """A step of a turn, while it takes: decode, store or emit."""
        return nullcontext()

    def stopwatch(self) -> Stopwatch:
        """A transaction in Postgres begins: what is returned is told of each of its steps."""
        return lambda step: 0.0

    def committed(self, done: Committed) -> None:
        """A transaction in Postgres was committed."""

    def turn(self, answered: Sequence[Answered], started: float) -> None:
        """A turn is in Postgres, which began at `started`, a `time.monotonic()`."""

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
