"""Counts for the console: outcomes by minute, and refusals by minute, company and code."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from worker.domain.outcomes import Outcome
from worker.messages.rules import CREATED, REFUSALS, REPLAYED
from worker.observability.hooks import CommittedTransaction, Hooks
from worker.store.activity import MOST_PAIRS, MinuteCounts

# The most minutes that are kept while Postgres is away.
_MOST_MINUTES = 60


@dataclass(slots=True)
class _Minute:
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[tuple[str | None, str]] = field(default_factory=Counter)
    is_written: bool = False

    def add(self, outcome: type[Outcome], company: str | None, count: int) -> None:
        refusal = REFUSALS.get(outcome)
        self.outcomes[REPLAYED if refusal is None else refusal.code] += count
        if refusal is not None:
            pair = company, refusal.code
            if pair not in self.refusals and len(self.refusals) >= MOST_PAIRS:
                pair = None, refusal.code
            self.refusals[pair] += count


class MinuteLog(Hooks):
    """Counts by minute of the worker's clock, until `Worker` has written the counts to the database.

    A minute has at most `MOST_PAIRS` of company and code. Further refusals count without their company.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._minutes: dict[int, _Minute] = {}

    def committed(self, done: CommittedTransaction) -> None:
        """Count the outcomes of a transaction."""
        minute = self._minutes.setdefault(int(self._clock()) // 60, _Minute())
        minute.is_written = False
        if done.created:
            minute.outcomes[CREATED] += len(done.created)
        for (outcome, company), count in done.others_by_company.items():
            minute.add(outcome, company, count)

    def unwritten(self) -> list[MinuteCounts]:
        """The minutes that are not written yet or have grown since, oldest first."""
        for old in sorted(self._minutes)[:-_MOST_MINUTES]:
            del self._minutes[old]
        return [
            MinuteCounts(datetime.fromtimestamp(number * 60, UTC), dict(minute.outcomes), dict(minute.refusals))
            for number, minute in sorted(self._minutes.items())
            if not minute.is_written
        ]

    def note_written(self, minutes: list[MinuteCounts]) -> None:
        """Note that these minutes are written, except those that have grown meanwhile."""
        for written in minutes:
            minute = self._minutes.get(int(written.minute.timestamp()) // 60)
            # Keep it for a while: if the clock is set back into this minute, its row must not lose these counts.
            if minute is not None and minute.outcomes == written.outcomes:
                minute.is_written = True
