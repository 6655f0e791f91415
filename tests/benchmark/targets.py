"""The targets of the speed issue, beside what was measured."""

from dataclasses import dataclass

from rich.table import Table

from tests.benchmark.figures import Figures, Spread, console


@dataclass(frozen=True)
class Target:
    """A figure, or its ratio to `base`; `at_most` turns the comparison around."""

    title: str
    name: str
    base: str | None
    must: float
    aim: float
    unit: str = ""
    at_most: bool = False

    def measured(self, figures: Figures) -> Spread | None:
        """None where it was not measured."""
        return figures.spread(self.name) if self.base is None else figures.ratio(self.name, self.base)

    def is_met(self, value: float, bound: float) -> bool:
        """Whether a value keeps to a bound."""
        return value <= bound if self.at_most else value >= bound


TARGETS = (
    Target("worker / pipe floor", "worker", "pipe floor", 0.5, 0.7),
    Target("worker / peer", "worker", "peer", 15, 30),
    Target("p99 at half load", "latency at half load, p99", None, 250, 100, "ms", True),
    Target("p99 of a lone command", "lone command, p99", None, 100, 50, "ms", True),
    Target("most passports / empty", "most passports", "empty database", 0.85, 0.95),
    Target("large catalogue / 10 companies", "large catalogue", "empty database", 0.8, 0.95),
    Target("one hot company / even", "hot company at 90 %", "even companies", 0.7, 0.95),
    Target("RSS with 12 lanes", "RSS, 12 lanes", None, 150, 110, "MB", True),
    Target("RSS under hostile records", "RSS under hostile records, 6 lanes", None, 200, 150, "MB", True),
    Target("restart to first new result", "restart", None, 3, 1.5, "s", True),
)


def print_targets(figures: Figures) -> None:
    """A table of all targets that this run measured."""
    table = Table(title="Targets, by the median")
    for heading in ("target", "must", "aim", "min", "median", "max", "must met", "aim met"):
        table.add_column(heading, justify="left" if heading == "target" else "right")
    for target in TARGETS:
        found = target.measured(figures)
        if found is not None:
            table.add_row(target.title, *_bounds(target), *_numbers(target, found), *_verdicts(target, found))
    if table.row_count:
        console.print(table)


def _bounds(target: Target) -> tuple[str, str]:
    sign = "≤" if target.at_most else "≥"
    return f"{sign} {target.must:g} {target.unit}", f"{sign} {target.aim:g} {target.unit}"


def _numbers(target: Target, found: Spread) -> tuple[str, ...]:
    return tuple(f"{one:.2f} {target.unit}" for one in (found.least, found.middle, found.most))


def _verdicts(target: Target, found: Spread) -> tuple[str, ...]:
    verdicts = (target.is_met(found.middle, bound) for bound in (target.must, target.aim))
    return tuple("[green]yes[/]" if met else "[red]no[/]" for met in verdicts)
