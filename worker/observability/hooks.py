"""Who is told how transactions go, so that processing need not know of metrics."""

from collections.abc import Callable, Mapping, Sequence
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


class Hooks(Protocol):
    """Such as `worker.observability.telemetry.Telemetry`."""

    def stopwatch(self) -> Stopwatch:
        """Starts to time steps."""
        ...

    def committed(self, done: Committed) -> None:
        """A transaction was committed."""
        ...


class NullHooks:
    """Observes nothing."""

    def stopwatch(self) -> Stopwatch:
        """See `Hooks`."""
        return lambda step: 0.0

    def committed(self, done: Committed) -> None:
        """See `Hooks`."""
