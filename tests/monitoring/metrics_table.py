"""`deploy/monitoring/metrics.md`: all metrics in a table, from the registry."""

from tests.monitoring.names import Metric, metrics

_HEAD = """\
# Metrics

`/metrics` serves these metrics as OpenMetrics (with exemplars of sampled traces) or in the text format, as the scraper
asks, with the client library's `process_*`. Generated from the registry by `python -m tests.monitoring`; do not edit.

Labels have few values: never a key, a GTIN, a serial number or a company. A lane's gauges come from the worker that has
it; for a lost or halted lane, from the worker to which the group gave it. Take `max by (topic, partition)`.

| name | type | labels | unit | meaning |
|---|---|---|---|---|
"""


def table() -> str:
    """The file."""
    return _HEAD + "".join(map(_row, metrics()))


def _row(one: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in one.labels)
    return f"| `{one.name}` | {one.kind} | {labels} | {one.unit} | {one.help} |\n"
