"""A lane that lost commits: how it was found, what recovering it comes to, and what is in the way."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from worker.observability.hooks import outcome_name
from worker.operations.refits import Restored
from worker.operations.selection import Place

MOST_PLACES = 5


@dataclass(slots=True)
class Refusals:
    """Why a lane cannot be restored: how often each code, and the first places of it with what was found."""

    counts: Counter[str] = field(default_factory=Counter)
    places: list[tuple[str, Place, str]] = field(default_factory=list)

    def update(self, others: "Refusals") -> None:
        """Add those of somebody else."""
        self.counts.update(others.counts)
        self.places += others.places

    def add(self, code: str, place: Place, text: str, times: int = 1) -> None:
        """Note one; `times` is how many of the kind it stands for."""
        if self.counts[code] < MOST_PLACES:
            self.places.append((code, place, text))
        self.counts[code] += times


@dataclass(slots=True)
class Lost:
    """A lane as it was found, and what recovering it comes to.

    `applied` is A, `emitted` E where the group has one; `published_end` is one past the newest command that has a
    visible result. What has to be restored are the commands from A to below `target`.
    """

    partition: int
    applied: int
    emitted: int | None
    published_end: int
    since: datetime
    lane_id: int | None
    refusals: Refusals = field(default_factory=Refusals)
    outcomes: Counter[str] = field(default_factory=Counter)
    dead_letters: int = 0
    charges: int = 0
    keys_bound: int = 0

    @property
    def target(self) -> int:
        """Behind everything that was published."""
        return max(self.published_end, self.emitted or 0)

    def count(self, one: Restored) -> None:
        """One more command is to be restored."""
        self.outcomes[outcome_name(one.answer)] += 1
        self.dead_letters += one.answer.dead_letter is not None
        if one.created is not None:
            self.charges += one.created.overage_price_cents is not None
            self.keys_bound += one.created.idempotency_key is not None

    def refuse(self, code: str, topic: str, offset: int, text: str, times: int = 1) -> None:
        """Note why it cannot be recovered."""
        self.refusals.add(code, Place(topic, self.partition, offset), text, times)
