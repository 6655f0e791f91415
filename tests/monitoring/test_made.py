"""What is made for `deploy/monitoring/` is what is committed there."""

import pytest

from tests.monitoring.made import MADE
from tests.monitoring.names import metrics
from tests.monitoring.rules import MONITORING

SUFFIXES = {"counter": "_total", "info": "_info"}
LABELS = {"topic", "partition", "outcome", "reason", "plan", "answer", "step", "state", "server", "certificate"}


@pytest.mark.parametrize("name", MADE)
def test_committed_files_are_up_to_date(name: str) -> None:
    """`python -m tests.monitoring` makes them anew."""
    assert (MONITORING / name).read_text(encoding="utf-8") == MADE[name]()


def test_metrics_are_named_as_prometheus_wants_them() -> None:
    """The application first, base units, `_total` for what only grows, and a sentence on each."""
    for one in metrics():
        assert one.name.startswith("passport_")
        assert one.name.endswith("_total") == (one.kind == "counter"), one.name
        assert one.name.endswith(SUFFIXES.get(one.kind, ""))
        assert not {"milliseconds", "ms", "minutes", "kilobytes", "percent"} & set(one.name.split("_")), one.name
        assert one.help.endswith(".")


def test_labels_are_bounded() -> None:
    """Nothing that a producer can invent is a label."""
    for one in metrics():
        assert one.kind == "info" or set(one.labels) <= LABELS, one.name
