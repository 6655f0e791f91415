"""`deploy/monitoring/dashboard.json`: the panels in Grafana's classic format."""

import json
from collections.abc import Iterator
from typing import Any

from tests.monitoring.panels import ROWS, Panel

UID = "passport-worker"
ALERTS = 'ALERTS{alertname=~"Passport.*", alertstate="firing", namespace=~"$namespace"}'
_WIDTH = 24
_DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> str:
    """The file."""
    return json.dumps(_document(), indent=1, ensure_ascii=False) + "\n"


def _document() -> dict[str, Any]:
    return {
        "uid": UID,
        "title": "Passport worker",
        "description": "Create-passport commands in, results out. Made by `python -m tests.monitoring`.",
        "tags": ["passport-worker"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "annotations": {"list": [_alerts()]},
        "panels": [{**panel, "id": number} for number, panel in enumerate(_panels(), 1)],
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}},
        _choice("namespace", "Namespace", "label_values(passport_build_info, namespace)"),
        _choice("topic", "Command topic", 'label_values(passport_lane_state{namespace=~"$namespace"}, topic)'),
    ]


def _choice(name: str, label: str, query: str) -> dict[str, Any]:
    """One value, some, or all; all matches what lacks the label, too."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _DATA_SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _alerts() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": _DATA_SOURCE,
        "enable": True,
        "expr": ALERTS,
        "titleFormat": "{{alertname}}",
        "iconColor": "red",
    }


def _panels() -> Iterator[dict[str, Any]]:
    """Rows, and their panels from left to right, in lines of 24 units."""
    top = 0
    for title, panels in ROWS:
        yield {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _place(0, top, _WIDTH, 1)}
        left, top = 0, top + 1
        height = 4 if all(panel.kind == "stat" for panel in panels) else 8
        for panel in panels:
            if left + panel.width > _WIDTH:
                left, top = 0, top + height
            yield {**_panel(panel), "gridPos": _place(left, top, panel.width, height)}
            left += panel.width
        top += height


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "datasource": _DATA_SOURCE,
        "targets": [_target(panel, place) for place in range(len(panel.queries))],
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": _OPTIONS[panel.kind],
    }


_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"},
    "heatmap": {"calculate": False, "yAxis": {"unit": "s"}, "tooltip": {"mode": "single"}},
}


def _target(panel: Panel, place: int) -> dict[str, Any]:
    query = panel.queries[place]
    return {
        "refId": chr(ord("A") + place),
        "datasource": _DATA_SOURCE,
        "expr": query.expression,
        "legendFormat": query.legend,
        "exemplar": query.exemplar,
        "instant": panel.kind == "stat",
        "range": panel.kind != "stat",
        "format": "heatmap" if panel.kind == "heatmap" else "time_series",
    }
