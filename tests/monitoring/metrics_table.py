"""`deploy/monitoring/metrics.md`: all metrics in a table, from the registry."""

from tests.monitoring.names import Metric, metrics

_HEAD = """\
# Metrics

At `/metrics`, as OpenMetrics (with exemplars of sampled traces) or in the text format, as the scraper asks. Made from
the registry by `python -m tests.monitoring`; do not edit. The client library's `process_*` come with them.

Labels are small sets: never a key, a GTIN, a serial number or a company. Gauges of a lane come from the worker that has
it, and of a lost or halted lane from the one that wants it: take `max by (topic, partition)`.

| name | type | labels | unit | meaning |
|---|---|---|---|---|
"""


def table() -> str:
    """The file."""
    return _HEAD + "".join(map(_row, metrics()))


def _row(one: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in one.labels)
    return f"| `{one.name}` | {one.kind} | {labels} | {one.unit} | {one.help} |\n"
