"""Expressions for the dashboard, and what their lines are called.

Every one asks for the chosen namespaces and keeps them apart: one Prometheus may watch many installations. Where there
are no namespaces, as in Compose, nothing has the label, and *All* matches that, too.
"""

from dataclasses import dataclass

CHOSEN = 'namespace=~"$namespace"'
LANE = f'{CHOSEN}, topic=~"$topic"'
AT_A_LIMIT = f'{CHOSEN}, answer!="created"'


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and how Grafana names its lines; `exemplar` shows traces on them."""

    expression: str
    legend: str
    exemplar: bool = False


def filled(expression: str, interval: str = "1m", namespace: str = ".*", topic: str = ".*") -> str:
    """An expression as Grafana sends it."""
    return expression.replace("$__rate_interval", interval).replace("$namespace", namespace).replace("$topic", topic)


def series(name: str, matchers: str = CHOSEN) -> str:
    """Those of a name."""
    return f"{name}{{{matchers}}}"


def by(*labels: str) -> str:
    """Grouping by these labels within each installation."""
    return f"by ({', '.join(('namespace', *labels))})"


def each(*labels: str, text: str = "") -> str:
    """What a line is called: a text, its labels, and the installation last, which is often the same or none."""
    names = [f"{{{{{label}}}}}" for label in (*labels, "namespace")]
    return " ".join([text, *names] if text else names)


def rate(name: str, *labels: str, matchers: str = CHOSEN) -> str:
    """How fast a counter grows, a second."""
    return f"sum {by(*labels)} (rate({series(name, matchers)}[$__rate_interval]))"


def quantiles(name: str, *labels: str) -> list[Query]:
    """The median and the 99th percentile, a line each for every value of the labels."""
    return [
        Query(
            f"histogram_quantile({share}, {rate(f'{name}_bucket', 'le', *labels)})",
            each(*labels, text=f"p{share * 100:.0f}"),
            exemplar=True,
        )
        for share in (0.5, 0.99)
    ]


def mean(name: str) -> str:
    """Of what a histogram saw."""
    return f"{rate(f'{name}_sum')} / {rate(f'{name}_count')}"


def happened(name: str, *labels: str, matchers: str = CHOSEN) -> str:
    """How much a counter grew between two points."""
    return f"sum {by(*labels)} (increase({series(name, matchers)}[$__rate_interval]))"


def by_lane(name: str) -> str:
    """A gauge of lanes, once each: while a lane moves, two workers may show it."""
    return f"max {by('topic', 'partition')} ({series(name, LANE)})"


def of_workers(expression: str) -> str:
    """Every process that Prometheus scrapes has the client library's metrics: those of workers only."""
    return f"{expression} and on (namespace, instance) {series('passport_build_info')}"
