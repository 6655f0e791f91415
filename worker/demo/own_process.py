"""The real worker in a process of its own, as in production: Ctrl-C, the loop and the logs stay apart."""

import http.client
import os
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

from worker.demo.embedded import ServerProcess
from worker.settings import Settings


class WorkerProcess(ServerProcess):
    """`python -m worker run`, which serves when `/readyz` says ok. `changes` are settings over those of ours."""

    def __init__(self, settings: Settings, changes: Mapping[str, str], folder: Path) -> None:
        super().__init__("worker", folder, settings.http_port)
        self._host = settings.http_host
        self.environment = {**os.environ, **changes}
        self.working_directory = None  # a setting may be a file's name

    @property
    def url(self) -> str:
        """Of health and metrics."""
        return f"http://{self._host}:{self.port}"

    def command(self) -> list[str]:
        """By the Python that we run on."""
        return [sys.executable, "-m", "worker", "run"]

    def is_serving(self) -> bool:
        """Whether it is ready; no proxy is asked, whatever the environment names."""
        connection = http.client.HTTPConnection(self._host, self.port, timeout=1.0)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        return False
