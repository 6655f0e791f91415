"""Runs commands of `passport-worker` in separate processes, as in production: Ctrl-C, loops and logs stay apart."""

import http.client
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from worker.settings import Settings
from worker.tools.demo.embedded import HOST, ServerProcess, free_port

_USUAL_CONSOLE_PORT = 8090


class OwnProcess(ServerProcess):
    """`python -m worker`, run by this Python. `changes` are added to this process's environment."""

    def __init__(
        self, name: str, folder: Path, port: int, arguments: Sequence[str], changes: Mapping[str, str]
    ) -> None:
        super().__init__(name, folder, port)
        self._arguments = arguments
        self.environment = {**os.environ, **changes}
        self.working_directory = None  # settings may name files relative to ours

    def command(self) -> list[str]:
        """See `ServerProcess`."""
        return [sys.executable, "-m", "worker", *self._arguments]


class WorkerProcess(OwnProcess):
    """The real worker. It counts as started when `/readyz` says ok."""

    def __init__(self, settings: Settings, changes: Mapping[str, str], folder: Path) -> None:
        super().__init__("worker", folder, settings.http_port, ["run"], changes)
        self._host = settings.http_host

    @property
    def url(self) -> str:
        """Base address of health checks and metrics."""
        return f"http://{self._host}:{self.port}"

    def is_serving(self) -> bool:
        """Whether the worker is ready. Proxies of the environment are not used."""
        connection = http.client.HTTPConnection(self._host, self.port, timeout=1.0)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        return False


class ConsoleProcess(OwnProcess):
    """The console, at its usual port if that is free."""

    def __init__(self, changes: Mapping[str, str], folder: Path) -> None:
        port = _USUAL_CONSOLE_PORT
        with socket.socket() as probe:
            try:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((HOST, port))
            except OSError:
                port = free_port()
        super().__init__("console", folder, port, ["console", "--port", str(port)], changes)

    @property
    def url(self) -> str:
        """Address of the pages."""
        return f"http://{HOST}:{self.port}/"
