"""What a verb finds wrong with records: how often each, and the first places of it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.domain.places import Place
from worker.tools.common.report import Problem


class Finding(NamedTuple):
    """Something that is wrong, and where."""

    code: str
    place: Place
    text: str


@dataclass(slots=True)
class Findings:
    """How often each code was found, and the first `most` of each."""

    most: int
    counts: Counter[str] = field(default_factory=Counter)
    first: list[Finding] = field(default_factory=list)

    def add(self, code: str, place: Place, text: str, times: int = 1) -> None:
        """Note one; `times` is how many of the kind it stands for."""
        if self.counts[code] < self.most:
            self.first.append(Finding(code, place, text))
        self.counts[code] += times

    def update(self, others: "Findings") -> None:
        """Add those of somebody else."""
        self.counts.update(others.counts)
        self.first += others.first

    def problems(self) -> list[Problem]:
        """The first ones, as a report has them."""
        return [Problem(code=one.code, place=str(one.place), text=one.text) for one in self.first]
