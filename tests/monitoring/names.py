"""The metrics that a worker has, and those that expressions ask for."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

from worker.observability.metrics import Metrics

_PROCESS = frozenset({"process_cpu_seconds_total", "process_resident_memory_bytes"})
"""Made by the client library, by whose names and meanings every process is watched."""

_OF_TARGETS = frozenset({"namespace", "instance", "job"})
"""Labels that Prometheus adds to all that it scrapes; the namespace only in Kubernetes."""

_SELECTOR = re.compile(r"\b(?P<name>(?:passport|process)_\w+)(?:\{(?P<matchers>[^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is scraped; histograms have `series` with three suffixes."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    series: Mapping[str, tuple[str, ...]]

    @property
    def unit(self) -> str:
        """The unit in its name, after the Prometheus conventions."""
        if self.name.endswith("_timestamp_seconds"):
            return "Unix seconds"
        last = self.name.removesuffix("_total").rpartition("_")[2]
        return last if last in ("seconds", "records", "lanes") else ""


def metrics() -> list[Metric]:
    """All metrics of our own, by name."""
    metrics = Metrics()
    return sorted(map(_metric, _declared(metrics)), key=lambda one: one.name)


def _declared(metrics: Metrics) -> Iterator[MetricWrapperBase]:
    """Those that the worker declares; what else is in its registry is the client library's, or build information."""
    for one in metrics.registry._collector_to_names:  # the public way shows no labels of metrics without samples
        if isinstance(one, MetricWrapperBase):
            yield one


def _metric(one: MetricWrapperBase) -> Metric:
    described = next(iter(one.describe()))
    labels = tuple(one._labelnames)
    suffix = {"counter": "_total", "info": "_info"}.get(described.type, "")
    name = described.name + suffix
    if described.type == "info":
        labels = tuple(next(iter(one.collect())).samples[0].labels)
    if isinstance(one, Histogram):
        series = {f"{name}_bucket": (*labels, "le"), f"{name}_sum": labels, f"{name}_count": labels}
    else:
        series = {name: labels}
    return Metric(name, described.type, labels, described.documentation, series)


def series() -> dict[str, tuple[str, ...]]:
    """Labels by the name of each series that expressions may use."""
    known = {name: labels for one in metrics() for name, labels in one.series.items()}
    return {**known, **dict.fromkeys(_PROCESS, ())}


def selectors(expression: str) -> list[str]:
    """The matchers of each series that an expression asks for, as they stand between the braces."""
    return [found["matchers"] or "" for found in _SELECTOR.finditer(expression)]


def unknown_names(expression: str) -> list[str]:
    """What an expression asks for and no worker has: series, labels in matchers, labels that are grouped by."""
    known, problems, labels = series(), [], set(_OF_TARGETS)
    for selector in _SELECTOR.finditer(expression):
        name = selector["name"]
        if name not in known:
            problems.append(name)
            continue
        labels.update(known[name])
        wanted = _MATCHER.findall(selector["matchers"] or "")
        problems += [f"{name}{{{label}}}" for label in wanted if label not in {*known[name], *_OF_TARGETS}]
    for grouping in _GROUPING.findall(expression):
        problems += [label for label in re.findall(r"\w+", grouping) if label not in labels]
    return problems
