"""Counts of answered and refused commands by company and UTC day."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from operator import attrgetter

from worker.domain.outcomes import Replayed
from worker.observability.hooks import CommittedTransaction, Hooks
from worker.store.activity import CompanyDay

# The most pairs of company and day; further ones are not counted. Only companies of the catalogue come here.
MOST_COMPANIES = 10_000
_COMPANY = attrgetter("company_id")


@dataclass(slots=True)
class _Counts:
    answered: int = 0
    refused: int = 0
    accepted_at: datetime | None = None


class DayLog(Hooks):
    """Counts by day of the worker's clock, until `Worker` has written the counts to the database."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._counts: dict[tuple[date, str], _Counts] = {}
        # The counts that have grown since they were written.
        self._grown: set[tuple[date, str]] = set()

    def committed(self, done: CommittedTransaction) -> None:
        """Count the outcomes of a transaction."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        accepted: Counter[str | None] = Counter(map(_COMPANY, done.created))
        refused: Counter[str | None] = Counter()
        for (outcome, company), count in done.others_by_company.items():
            (accepted if outcome is Replayed else refused)[company] += count
        for company in accepted.keys() | refused.keys():
            if company is None:  # unknown credentials
                continue
            pair = now.date(), company
            counts = self._counts.get(pair)
            if counts is None:
                if len(self._counts) >= MOST_COMPANIES:
                    continue
                counts = self._counts[pair] = _Counts()
            counts.answered += accepted[company] + refused[company]
            counts.refused += refused[company]
            if accepted[company]:
                counts.accepted_at = now
            self._grown.add(pair)

    def unwritten(self) -> list[CompanyDay]:
        """The counts that are not written yet or have grown since."""
        pairs = ((pair, self._counts[pair]) for pair in sorted(self._grown))
        return [CompanyDay(*pair, counts.answered, counts.refused, counts.accepted_at) for pair, counts in pairs]

    def note_written(self, days: Sequence[CompanyDay]) -> None:
        """Note that these counts are written, and forget old days."""
        for day in days:
            pair = day.day, day.company_id
            # If a turn came during the write, the row lacks its counts and has to be written again.
            if self._counts[pair].answered == day.answered:
                self._grown.discard(pair)
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        for pair in [pair for pair in self._counts if pair[0] < today and pair not in self._grown]:
            del self._counts[pair]
