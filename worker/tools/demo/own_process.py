"""Our own commands in processes of their own, as in production: Ctrl-C, the loop and the logs stay apart."""

import http.client
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from worker.settings import Settings
from worker.tools.demo.embedded import ServerProcess


class OwnProcess(ServerProcess):
    """`python -m worker` by the Python that we run on. `changes` are settings over those of ours."""

    def __init__(
        self, name: str, folder: Path, port: int, arguments: Sequence[str], changes: Mapping[str, str]
    ) -> None:
        super().__init__(name, folder, port)
        self._arguments = arguments
        self.environment = {**os.environ, **changes}
        self.working_directory = None  # a setting may be a file's name

    def command(self) -> list[str]:
        """See `ServerProcess`."""
        return [sys.executable, "-m", "worker", *self._arguments]


class WorkerProcess(OwnProcess):
    """The real worker, which serves when `/readyz` says ok."""

    def __init__(self, settings: Settings, changes: Mapping[str, str], folder: Path) -> None:
        super().__init__("worker", folder, settings.http_port, ["run"], changes)
        self._host = settings.http_host

    @property
    def url(self) -> str:
        """Of health and metrics."""
        return f"http://{self._host}:{self.port}"

    def is_serving(self) -> bool:
        """Whether it is ready; no proxy is asked, whatever the environment names."""
        connection = http.client.HTTPConnection(self._host, self.port, timeout=1.0)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        return False
