"""The targets, beside what was measured."""

from dataclasses import dataclass

from rich.table import Table

from tests.benchmark.figures import Figures, Spread, console
from tests.benchmark.refused import BESIDE


@dataclass(frozen=True)
class Target:
    """A figure, or its ratio to `base`; `at_most` turns the comparison around.

    Some have no aim beyond what must be.
    """

    title: str
    name: str
    base: str | None
    must: float
    aim: float | None
    unit: str = ""
    at_most: bool = False

    def measured(self, figures: Figures) -> Spread | None:
        """None where it was not measured."""
        return figures.spread(self.name) if self.base is None else figures.ratio(self.name, self.base)

    def told(self, bound: float | None) -> str:
        """A bound as the table shows it."""
        return "" if bound is None else f"{'≤' if self.at_most else '≥'} {bound:g} {self.unit}"

    def verdict(self, value: float, bound: float | None) -> str:
        """Whether a value keeps to a bound, as the table shows it."""
        if bound is None:
            return ""
        return "[green]yes[/]" if (value <= bound if self.at_most else value >= bound) else "[red]no[/]"


TARGETS = (
    Target("worker / pipe floor", "worker", "pipe floor", 0.7, 0.85),
    Target("worker's CPU / pipe floor's", "worker, CPU", "pipe floor, CPU", 1.5, 1.2, "", True),
    Target("signed (EdDSA) / API keys", "signed, EdDSA", "before EdDSA", 0.45, None),
    Target("signed (ES256) / API keys", "signed, ES256", "before ES256", 0.45, None),
    Target("WAL of a passport of 52 fields", "52 fields, WAL", None, 1200, 900, "bytes", True),
    Target("a passport of 52 fields on disk", "52 fields, passport", None, 350, 250, "bytes", True),
    Target("worker / peer", "worker", "peer", 15, 30),
    Target("p50 at half load", "latency at half load, p50", None, 45, 30, "ms", True),
    Target("p99 at half load", "latency at half load, p99", None, 120, 80, "ms", True),
    Target("p99 of a lone command", "lone command, p99", None, 25, 20, "ms", True),
    Target("48 partitions / one", "48 partitions, worker", "1 partition, worker", 0.9, None),
    Target("p50 of 48 partitions / one", "48 partitions, worker, p50", "1 partition, worker, p50", 1.3, None, "", True),
    Target("p99 of 48 partitions / one", "48 partitions, worker, p99", "1 partition, worker, p99", 1.6, None, "", True),
    Target("20 channels / one", "120 lanes of 20 channels", "120 lanes of one channel", 0.9, None),
    Target(
        "p50 of 20 channels / one",
        "120 lanes of 20 channels, p50",
        "120 lanes of one channel, p50",
        1.2,
        None,
        "",
        True,
    ),
    Target("p95 beside a backlog / quiet", "calm channel beside backlog, p95", "calm channel, p95", 4, None, "", True),
    Target("p95 beside a flood / quiet", "calm channel beside a flood, p95", "calm channel, p95", 4, None, "", True),
    *(Target(f"{fault} / {good}, CPU", f"{fault}, CPU", f"{good}, CPU", 1.5, None, "", True) for fault, good in BESIDE),
    Target("all partitions after a join", "one joins, all partitions after", None, 2, None, "s", True),
    Target("all partitions after a leave", "one leaves, all partitions after", None, 2, None, "s", True),
    Target("most passports / empty", "most passports", "empty database", 0.95, 1),
    Target("large catalogue / 10 companies", "large catalogue", "empty database", 0.8, 0.95),
    Target("one hot company / even", "hot company at 90 %", "even companies", 0.7, 0.95),
    Target("RSS with 12 lanes", "RSS, 12 lanes", None, 130, 110, "MB", True),
    Target("peak RSS with 48 lanes", "peak RSS, 48 lanes", None, 150, None, "MB", True),
    Target("RSS under hostile records", "RSS under hostile records, 6 lanes", None, 200, 150, "MB", True),
    Target("p99 of the console's slowest page", "slowest page, p99", None, 100, 50, "ms", True),
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
            bounds = (target.must, target.aim)
            numbers = (f"{one:.2f} {target.unit}" for one in (found.least, found.middle, found.most))
            verdicts = (target.verdict(found.middle, bound) for bound in bounds)
            table.add_row(target.title, *map(target.told, bounds), *numbers, *verdicts)
    if table.row_count:
        console.print(table)
