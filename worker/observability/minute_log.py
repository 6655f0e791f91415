"""What the console shows of the line: a minute's outcomes by code, and whose commands were refused and why."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from worker.domain.outcomes import Outcome
from worker.messages.events import company_of
from worker.messages.rules import CREATED, REFUSALS, REPLAYED
from worker.observability.hooks import Committed, Hooks
from worker.store.activity import MOST_PAIRS, MinuteCounts

_MOST_MINUTES = 60
"""So many are kept while Postgres is away."""


@dataclass(slots=True)
class _Minute:
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: dict[tuple[str | None, str], int] = field(default_factory=dict)
    is_told: bool = False

    def add(self, outcome: type[Outcome], company: str | None, count: int) -> None:
        """So many of an outcome other than created."""
        refusal = REFUSALS.get(outcome)
        self.outcomes[REPLAYED if refusal is None else refusal.code] += count
        if refusal is not None:
            pair = company, refusal.code
            if pair not in self.refusals and len(self.refusals) >= MOST_PAIRS:
                pair = None, refusal.code
            self.refusals[pair] = self.refusals.get(pair, 0) + count


class MinuteLog(Hooks):
    """Counts by minutes of the worker's clock; whoever writes them down asks for what is `untold`.

    Refusals beyond `MOST_PAIRS` of company and code a minute count without their company.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._minutes: dict[int, _Minute] = {}

    def committed(self, done: Committed) -> None:
        """Passports by their number, all else one by one."""
        current = int(self._clock()) // 60
        minute = self._minutes.setdefault(current, _Minute())
        minute.is_told = False
        if done.created:
            minute.outcomes[CREATED] += len(done.created)
        pairs = Counter([(type(one), company_of(one)) for one in done.others])
        for (outcome, company), count in pairs.items():
            minute.add(outcome, company, count)

    def untold(self) -> list[MinuteCounts]:
        """Minutes that have changed since they were told, oldest first; at most an hour of them is kept."""
        for old in sorted(self._minutes)[:-_MOST_MINUTES]:
            del self._minutes[old]
        return [
            MinuteCounts(datetime.fromtimestamp(at * 60, UTC), dict(one.outcomes), dict(one.refusals))
            for at, one in sorted(self._minutes.items())
            if not one.is_told
        ]

    def told(self, minutes: list[MinuteCounts]) -> None:
        """These are written down; one that has grown since is untold again."""
        current = int(self._clock()) // 60
        for said in minutes:
            at = int(said.minute.timestamp()) // 60
            one = self._minutes.get(at)
            if one is None or one.outcomes != said.outcomes:
                continue
            one.is_told = True
            if at < current:
                del self._minutes[at]
