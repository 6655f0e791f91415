"""The console in a process of its own, over what the stage has set up."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from worker.tools.demo.embedded import HOST, free_port
from worker.tools.demo.own_process import OwnProcess

_USUAL_PORT = 8090


class ConsoleProcess(OwnProcess):
    """The console, at its usual port where that is free."""

    def __init__(self, changes: Mapping[str, str], folder: Path) -> None:
        port = _usual_port()
        super().__init__("console", folder, port, ["console", "--port", str(port)], changes)

    @property
    def url(self) -> str:
        """For a browser."""
        return f"http://{HOST}:{self.port}/"


def _usual_port() -> int:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, _USUAL_PORT))
        return _USUAL_PORT
    return free_port()
