"""Which files of `deploy/monitoring/` are made, and by what."""

from collections.abc import Callable, Mapping

from tests.monitoring.dashboard import dashboard
from tests.monitoring.log_events import page
from tests.monitoring.metrics_table import table
from tests.monitoring.rules import prometheus_rule

MADE: Mapping[str, Callable[[], str]] = {
    "metrics.md": table,
    "logs.md": page,
    "dashboard.json": dashboard,
    "prometheus-rule.yaml": prometheus_rule,
}
