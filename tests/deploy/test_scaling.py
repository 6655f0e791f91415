"""The autoscaler's question to Prometheus is answered as its comment says, by Prometheus's own engine."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import DEPLOY, of_kind, rendered
from tests.infrastructure.tools import tool
from worker.observability.metrics import Metrics

PRODUCTION = "kubernetes/overlays/production"
TOPIC = "dpp.passport.create.v1"


def _trigger() -> dict[str, Any]:
    (trigger,) = of_kind(rendered("kubernetes/components/keda"), "ScaledObject")["passport-worker"]["spec"]["triggers"]
    metadata: dict[str, Any] = trigger["metadata"]
    return metadata


def _shown(pod: str, partition: int, lag: int, halted: int = 0, namespace: str = "passports") -> list[dict[str, str]]:
    """What one worker shows of one lane, as Prometheus keeps it."""
    labels = f'job="passport-worker", namespace="{namespace}", pod="{pod}", topic="{TOPIC}", partition="{partition}"'
    return [
        {"series": f"passport_lane_lag_records{{{labels}}}", "values": f"{lag}"},
        {"series": f"passport_lane_halted{{{labels}}}", "values": f"{halted}"},
    ]


ONE_LANE_EACH = [*_shown("a", 0, 30_000), *_shown("b", 1, 12_000)]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        pytest.param(ONE_LANE_EACH, 42_000, id="backlogs of all lanes add up"),
        pytest.param([*_shown("a", 0, 0), *_shown("b", 1, 0)], 0, id="idle is 0"),
        pytest.param([*ONE_LANE_EACH, *_shown("c", 1, 11_000)], 42_000, id="a lane that moves counts once"),
        pytest.param([*ONE_LANE_EACH, *_shown("b", 2, 900_000, halted=1)], 42_000, id="a halted lane counts nothing"),
        pytest.param(
            [*ONE_LANE_EACH, *_shown("a", 0, 7, namespace="other")], 42_000, id="others' workers do not count"
        ),
        pytest.param([], None, id="no worker is no figure"),
    ],
)
def test_lag_is_what_more_workers_can_work_off(
    series: list[dict[str, str]], expected: int | None, tmp_path: Path
) -> None:
    """Neither markers nor halted or moving lanes make a backlog; no figure leaves the number of workers as it is."""
    samples = [] if expected is None else [{"labels": "{}", "value": expected}]
    asked = {"expr": _trigger()["query"], "eval_time": "0s", "exp_samples": samples}
    tests = {"rule_files": [], "tests": [{"interval": "15s", "input_series": series, "promql_expr_test": [asked]}]}
    file = tmp_path / "query.yaml"
    file.write_text(yaml.safe_dump(tests), encoding="utf-8")
    done = subprocess.run(
        [tool("promtool"), "test", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_figure_is_an_error() -> None:
    """KEDA would otherwise read it as 0 and take workers away while Prometheus is down."""
    assert _trigger()["ignoreNullValues"] == "false"


def test_a_pause_at_no_workers_ends_with_workers() -> None:
    """KEDA has no figure without one and would stay at 0, so what unpauses on the page also scales, and waits."""
    page = (DEPLOY / "recover.md").read_text(encoding="utf-8")
    before, unpaused, after = page.partition("autoscaling.keda.sh/paused-replicas-\n")
    assert unpaused
    assert (before + after).count("paused-replicas") == before.count("paused-replicas=0\n") == 1
    spec = of_kind(rendered(PRODUCTION), "ScaledObject")["passport-worker"]["spec"]
    commands = [line.partition("--namespace passports ")[2] for line in after.partition("```")[0].splitlines()]
    target = f"deployment/{spec['scaleTargetRef']['name']}"
    assert f"scale {target} --replicas={spec['minReplicaCount']}" in commands
    assert commands[-1].startswith(f"rollout status {target} ")


def test_autoscaler_asks_for_series_that_there_are() -> None:
    """The metrics are the worker's, and job and namespace are what the monitor and the overlay give them."""
    query = _trigger()["query"]
    names = {metric.name for metric in Metrics().registry.collect()}
    assert set(re.findall(r"passport_\w+", query)) <= names
    monitor = of_kind(rendered("monitoring"), "PodMonitor")["passport-worker"]["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    worker = of_kind(rendered(PRODUCTION), "Deployment")["passport-worker"]
    labels = worker["spec"]["template"]["metadata"]["labels"]
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    assert {f'job="{labels[monitor["jobLabel"]]}"'} == set(re.findall(r'job="[^"]*"', query))
    assert {f'namespace="{worker["metadata"]["namespace"]}"'} == set(re.findall(r'namespace="[^"]*"', query))
    assert endpoint["port"] in {port["name"] for port in container["ports"]}
    assert endpoint["path"] == "/metrics"


def test_dashboard_is_found_by_grafanas_sidecar() -> None:
    """The ConfigMap has the sidecar's label, and a name that stays."""
    dashboard = of_kind(rendered("monitoring"), "ConfigMap")["passport-worker-dashboard"]
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboard["data"]["passport-worker.json"] == (DEPLOY / "monitoring/dashboard.json").read_text(
        encoding="utf-8"
    )
