"""The dashboard asks for what there is, in PromQL that Prometheus reads."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infrastructure.tools import tool
from tests.monitoring.dashboard import ALERTS, UID, dashboard
from tests.monitoring.names import selectors, unknown_names
from tests.monitoring.panels import expressions
from tests.monitoring.queries import filled

DASHBOARD: dict[str, Any] = json.loads(dashboard())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
PROMISED = (
    "passport_outcomes_total",
    "passport_lane_lag_records",
    "passport_lane_lag_seconds",
    "passport_batch_step_seconds_bucket",
    "passport_batch_records_sum",
    "passport_lane_halts_total",
    "passport_reemitted_total",
    "passport_rebalances_total",
    "passport_transaction_seconds_bucket",
    "passport_store_step_seconds_sum",
    "passport_dead_letters_total",
    "passport_plan_answers_total",
)


def test_prometheus_reads_every_expression(tmp_path: Path) -> None:
    """As rules of a file, which `promtool` checks."""
    names = [f"passport:panel:{place}" for place in range(len(expressions()) + 1)]
    rules = [{"record": name, "expr": filled(one)} for name, one in zip(names, [*expressions(), ALERTS], strict=True)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([tool("promtool"), "check", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_exists(expression: str) -> None:
    """A line that is always empty looks like peace."""
    assert unknown_names(expression) == []


@pytest.mark.parametrize("expression", [*expressions(), ALERTS])
def test_every_panel_shows_the_chosen_installations_only(expression: str) -> None:
    """Another installation of the same Prometheus, with the same topics, does not mix in."""
    assert "$namespace" in expression
    assert all('namespace=~"$namespace"' in matchers for matchers in selectors(expression))


def test_lines_say_whose_they_are() -> None:
    """Two installations would otherwise draw two lines of one name; a heatmap has one line a bucket."""
    for panel in PANELS:
        for target in panel["targets"]:
            assert ("namespace" in target["legendFormat"]) == (panel["type"] != "heatmap"), panel["title"]


def test_all_namespaces_and_none_can_be_chosen() -> None:
    """`.*` matches a missing label, which a list of all values would not."""
    (choice,) = (one for one in DASHBOARD["templating"]["list"] if one["name"] == "namespace")
    assert (choice["multi"], choice["includeAll"], choice["allValue"]) == (True, True, ".*")
    assert choice["current"]["value"] == ["$__all"]


@pytest.mark.parametrize(
    ("expression", "unknown"),
    [
        ("rate(passport_gone_total[1m])", ["passport_gone_total"]),
        ('passport_lane_halted{company="x"}', ["passport_lane_halted{company}"]),
        ("sum by (gtin) (passport_lane_halted)", ["gtin"]),
        ("passport_batch_records", ["passport_batch_records"]),
        ("sum by (le, step) (rate(passport_batch_step_seconds_bucket[1m]))", []),
    ],
)
def test_what_does_not_exist_is_found(expression: str, unknown: list[str]) -> None:
    """Names, labels that are matched, labels that are grouped by, and a histogram without a suffix."""
    assert unknown_names(expression) == unknown


@pytest.mark.parametrize("name", PROMISED)
def test_what_operators_were_promised_is_shown(name: str) -> None:
    """Issue 5 lists it."""
    assert any(name in expression for expression in expressions())


def test_the_dashboard_can_be_provisioned_anywhere() -> None:
    """A fixed uid, and no data source but the variable."""
    assert (DASHBOARD["uid"], DASHBOARD["templating"]["list"][0]["name"]) == (UID, "datasource")
    sources = [one["datasource"] for panel in PANELS for one in (panel, *panel["targets"])]
    assert {source["uid"] for source in sources} == {"${datasource}"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_lie_beside_each_other() -> None:
    """No two share a place, and none is wider than the page."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        places = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & places, panel["title"]
        taken |= places
