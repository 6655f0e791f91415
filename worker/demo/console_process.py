"""The console in a process of its own, over what the stage has set up."""

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from worker.demo.embedded import HOST, ServerProcess, free_port

_USUAL_PORT = 8090


class ConsoleProcess(ServerProcess):
    """`python -m worker console`, at its usual port where that is free. `changes` are settings over those of ours."""

    def __init__(self, changes: Mapping[str, str], folder: Path) -> None:
        super().__init__("console", folder, _usual_port())
        self.environment = {**os.environ, **changes}
        self.working_directory = None  # a setting may be a file's name

    @property
    def url(self) -> str:
        """For a browser."""
        return f"http://{HOST}:{self.port}/"

    def command(self) -> list[str]:
        """By the Python that we run on."""
        return [sys.executable, "-m", "worker", "console", "--port", str(self.port)]


def _usual_port() -> int:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, _USUAL_PORT))
        return _USUAL_PORT
    return free_port()
