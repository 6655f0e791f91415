"""The figures of a run: samples by name, their spread, and the ratios of what was measured in the same round."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from rich.console import Console
from rich.table import Table

console = Console(width=110)


@dataclass(frozen=True)
class Spread:
    """Minimum, median and maximum of some samples."""

    least: float
    middle: float
    most: float


def spread(samples: Sequence[float]) -> Spread:
    """Of at least one sample."""
    return Spread(min(samples), median(samples), max(samples))


@dataclass
class Figures:
    """Samples by name, one a round, in the order in which names first came; `units` by name."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float, unit: str) -> float:
        """Note a sample, say it, and give it back."""
        self.samples.setdefault(name, []).append(value)
        self.units[name] = unit
        console.print(f"  {name}: {_text(value)} {unit}", highlight=False)
        return value

    def latest(self, name: str) -> float | None:
        """The sample of the latest round, if there is one."""
        return self.samples[name][-1] if name in self.samples else None

    def ratio(self, name: str, base: str) -> Spread | None:
        """Of two figures, round by round; None unless both were measured."""
        pairs = list(zip(self.samples.get(name, ()), self.samples.get(base, ()), strict=False))
        return spread([one / other for one, other in pairs]) if pairs else None

    def spread(self, name: str) -> Spread | None:
        """Of one figure; None unless it was measured."""
        return spread(self.samples[name]) if name in self.samples else None

    def print(self, base: str) -> None:
        """One table of everything; speeds also as a ratio to `base` of the same round."""
        table = Table(title=_title())
        for heading in ("figure", "unit", "min", "median", "max", f"median ratio to {base}"):
            table.add_column(heading, justify="left" if heading in ("figure", "unit") else "right")
        for name, samples in self.samples.items():
            found = spread(samples)
            ratio = self.ratio(name, base) if self.units[name] == self.units.get(base) else None
            numbers = (_text(found.least), _text(found.middle), _text(found.most))
            table.add_row(name, self.units[name], *numbers, "" if ratio is None else f"{ratio.middle:.2f}")
        console.print(table)


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _title() -> str:
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}, load {load}"
