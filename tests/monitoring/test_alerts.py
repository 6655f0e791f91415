"""Alerts fire when they should and not otherwise, and whoever is woken finds what to do."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import ValidationError

from tests.deploy.strict import check
from tests.infrastructure.tools import tool
from tests.monitoring.names import unknown_names
from tests.monitoring.rules import MONITORING, RULES, prometheus_rule, records, rules, written_out

TESTS = Path(__file__).with_name("rules_test.yaml")
RUNBOOK = MONITORING.parent / "runbook"
RECORDS = records()
ALERTS = {rule["alert"]: {**rule, "expr": written_out(rule["expr"], RECORDS)} for rule in rules()}
PARTS = ["Meaning", "Look at", "Do", "Do not"]


def _promtool(*arguments: str) -> str:
    environment = {**os.environ, "GOGC": "800"}  # it ends before its garbage matters
    done = subprocess.run([tool("promtool"), *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_reads_the_rules() -> None:
    """Expressions, durations and the templates of texts."""
    assert f"{len(ALERTS) + len(RECORDS)} rules found" in _promtool("check", "rules", str(RULES))


def test_alerts_pass_their_unit_tests() -> None:
    """`promtool test rules` on `rules_test.yaml`."""
    assert "SUCCESS" in _promtool("test", "rules", str(TESTS))


def _expectations(alert: str) -> list[bool]:
    """Whether each check of an alert's unit tests expects it to fire."""
    groups = yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
    checks = [check for group in groups for check in group["promql_expr_test"]]
    return [bool(check["exp_samples"]) for check in checks if f'alertname="{alert}"' in check["expr"]]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_seen_to_fire_and_to_keep_quiet(alert: str) -> None:
    """Both ways, in its unit tests."""
    assert set(_expectations(alert)) == {True, False}


def test_each_alert_tells_installations_apart() -> None:
    """The unit test of two namespaces, where one is ill in every way, leaves out none."""
    groups = yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
    (group,) = (one for one in groups if one["name"] == "Two installations")
    (expected,) = (check["exp_samples"] for check in group["promql_expr_test"])
    assert {one["labels"] for one in expected} == {f'{{alertname="{alert}", namespace="ill"}}' for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_asks_for_what_there_is(alert: str) -> None:
    """Metrics and labels of the registry."""
    assert unknown_names(ALERTS[alert]["expr"]) == []


def test_each_recorded_expression_is_used_by_an_alert() -> None:
    """Prometheus would evaluate another one in vain."""
    used = {name for rule in rules() for name in re.findall(r"passport:[\w:]+", rule["expr"])}
    assert {name for name in RECORDS if name != "passport:lanes_halted:ratio"} == used


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_says_how_bad_it_is_and_where_to_read_on(alert: str) -> None:
    """A severity, two texts, and a page of the runbook with all four parts."""
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"deploy/runbook/{alert}.md"
    page = (RUNBOOK / f"{alert}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {alert}\n")
    assert [part for part in re.findall(r"^## (.*)$", page, re.MULTILINE) if part in PARTS] == PARTS


def test_texts_use_only_labels_that_the_alert_has() -> None:
    """A label that is aggregated away would leave a hole in the sentence."""
    for rule in ALERTS.values():
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        kept = {label for group in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in group.split(", ")}
        assert used <= kept - {"le"}, rule["alert"]


def test_the_runbook_has_no_page_without_an_alert() -> None:
    """And its index lists all pages, in the order of the rules."""
    assert {page.stem for page in RUNBOOK.glob("*.md")} == {*ALERTS, "README"}
    index = (RUNBOOK / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(\w+)\]\(\1\.md\) \|", index, re.MULTILINE) == list(ALERTS)


def test_the_resource_is_what_the_operator_takes() -> None:
    """Against the schema of its definition, in which no other field may stand."""
    resource = yaml.safe_load(prometheus_rule())
    check(resource)
    resource["spec"]["groups"][0]["rules"][0]["severity"] = "critical"
    with pytest.raises(ValidationError):
        check(resource)
