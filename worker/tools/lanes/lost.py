"""A lane that lost commits: how it was found, what recovering it comes to, and what is in the way."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from worker.domain.places import Place
from worker.observability.hooks import outcome_name
from worker.tools.common.findings import Findings
from worker.tools.common.refits import Restored
from worker.tools.lanes.restoring import MOST_PLACES


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
    refusals: Findings = field(default_factory=lambda: Findings(MOST_PLACES))
    outcomes: Counter[str] = field(default_factory=Counter)
    dead_letters: int = 0
    charges: int = 0
    keys_bound: int = 0

    @property
    def target(self) -> int:
        """Behind everything that was published."""
        return max(self.published_end, self.emitted or 0)

    @property
    def to_restore(self) -> int:
        """How many offsets; 0 for a lane that lost nothing."""
        return max(0, self.target - self.applied)

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
