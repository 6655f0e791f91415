"""`deploy/monitoring/prometheus-rule.yaml`: the plain rules as a resource of the Prometheus operator."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES = MONITORING / "rules.yaml"

_HEAD = "# Made from rules.yaml by `python -m tests.monitoring`; do not edit.\n"


def rules() -> list[dict[str, Any]]:
    """The alerts of `rules.yaml`."""
    return [rule for rule in _all() if "alert" in rule]


def records() -> dict[str, str]:
    """The expressions that `rules.yaml` records, by name, with those that they use written out."""
    written: dict[str, str] = {}
    for rule in _all():
        if "record" in rule:
            written[rule["record"]] = written_out(rule["expr"], written)
    return written


def written_out(expression: str, recorded: Mapping[str, str]) -> str:
    """The expression with others in place of their names. Raises `KeyError` for a name that nothing records."""
    return re.sub(r"\bpassport:[\w:]+", lambda name: f"({recorded[name[0]]})", expression)


def _all() -> list[dict[str, Any]]:
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
