"""A real Prometheus on loopback, which scrapes workers each second and evaluates our alerts."""

import json
import signal
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.infrastructure.tools import tool
from tests.monitoring.rules import RULES
from tests.workbench import get
from worker.tools.demo.embedded import HOST, ServerProcess

Series = dict[str, Any]
"""As the HTTP API gives it: `metric`, and `value` or `values`."""


class Prometheus(ServerProcess):
    """Scrapes `/metrics` at the given ports. Skips the test where there is no Prometheus."""

    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path, worker_ports: Sequence[int]) -> None:
        super().__init__("prometheus", directory)
        self._program = tool("prometheus")
        self._data = directory / "prometheus-data"
        self._configuration = directory / "prometheus.yaml"
        workers = [
            {"targets": [f"{HOST}:{port}"], "labels": {"instance": f"worker {number}"}}
            for number, port in enumerate(worker_ports, 1)
        ]
        self._configuration.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(RULES)],
                    "scrape_configs": [{"job_name": "passport-worker", "static_configs": workers}],
                }
            )
        )

    def command(self) -> list[str]:
        """Loopback only."""
        return [
            self._program,
            f"--config.file={self._configuration}",
            f"--storage.tsdb.path={self._data}",
            f"--web.listen-address={HOST}:{self.port}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ]

    def is_serving(self) -> bool:
        """Whether it is ready for queries."""
        return super().is_serving() and get(f"http://{HOST}:{self.port}/-/ready")[0] == 200

    def query(self, expression: str) -> list[Series]:
        """What an expression is now; raises `HTTPError` for one that Prometheus refuses."""
        return self._result("query", query=expression)

    def query_range(self, expression: str, start: float, end: float, step: float = 1.0) -> list[Series]:
        """What an expression was between two Unix times."""
        return self._result("query_range", query=expression, start=str(start), end=str(end), step=str(step))

    def alerts(self) -> dict[str, str]:
        """Alerts that are pending or firing, by name."""
        active = self._ask("alerts")["alerts"]
        return {one["labels"]["alertname"]: one["state"] for one in active}

    def rule_problems(self) -> list[str]:
        """What evaluating the rules brought up."""
        groups = self._ask("rules")["groups"]
        return [rule["lastError"] for group in groups for rule in group["rules"] if rule["health"] == "err"]

    def _result(self, question: str, **parameters: str) -> list[Series]:
        result: list[Series] = self._ask(question, **parameters)["result"]
        return result

    def _ask(self, question: str, **parameters: str) -> Any:
        url = f"http://{HOST}:{self.port}/api/v1/{question}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=20) as response:
            return json.load(response)["data"]
