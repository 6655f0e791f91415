"""`deploy/monitoring/prometheus-rule.yaml`: the plain rules as a resource of the Prometheus operator."""

from pathlib import Path
from typing import Any

import yaml

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES = MONITORING / "rules.yaml"

_HEAD = "# Made from rules.yaml by `python -m tests.monitoring`; do not edit.\n"


def rules() -> list[dict[str, Any]]:
    """The alerts of `rules.yaml`."""
    return [rule for group in _plain()["groups"] for rule in group["rules"]]


def prometheus_rule() -> str:
    """The file."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "passport-worker"},
        "spec": _plain(),
    }
    return _HEAD + yaml.safe_dump(resource, sort_keys=False, width=120, allow_unicode=True)


def _plain() -> dict[str, Any]:
    plain: dict[str, Any] = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return plain
