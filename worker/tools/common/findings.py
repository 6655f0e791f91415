"""Collects what a verb finds wrong with records: how often, and the first places."""

from collections import Counter
from dataclasses import dataclass, field

from worker.domain.places import Place
from worker.tools.common.report import Problem


@dataclass(slots=True)
class Findings:
    """How often each code was found, and the first `most` problems of each."""

    most: int
    counts: Counter[str] = field(default_factory=Counter)
    first: list[Problem] = field(default_factory=list)

    def add(self, code: str, place: Place, text: str, times: int = 1) -> None:
        """Note a problem that was found `times` times."""
        if self.counts[code] < self.most:
            self.first.append(Problem(code=code, place=str(place), text=text))
        self.counts[code] += times

    def update(self, others: "Findings") -> None:
        """Add other findings to these."""
        self.counts.update(others.counts)
        self.first += others.first
