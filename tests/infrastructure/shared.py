"""The servers that all processes of a test session share, kept by a process of their own.

    keeper = Keeper()              # in the session's first process; no server starts yet
    ask(keeper.address, SERVERS)   # in any process of the session; the first question starts the servers
    ask(keeper.address, TEMPLATE)  # the name of a database with tables and a catalogue, to be copied
    keeper.close()

Only the session's first process holds one end of a pipe, and the keeper reads the other. When that process ends, by
SIGKILL or otherwise, the keeper stops the servers, kills all other processes of the session and removes its folder. It
knows them by `SESSION` in their environment, which also names the folder.
"""

import asyncio
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

SESSION = "TESTS_OF_PASSPORT_WORKER"
"""An environment variable: the folder of the test session."""

SERVERS, TEMPLATE = "servers", "template"

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 << 30
_START_SECONDS = 420.0
"""Kafka's jars may have to be downloaded first."""
_STOP_SECONDS = 60.0


class Keeper:
    """Starts the keeping process, which waits for a question."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="passport-worker-", dir=_in_memory()))
        self._folder.chmod(0o755)  # PostgreSQL has a user of its own
        os.environ[SESSION] = str(self._folder)
        self.address = str(self._folder / "keeper")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen(100)
            command = [sys.executable, "-m", __name__, str(self._folder), str(listener.fileno())]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], start_new_session=True
            )

    def close(self) -> None:
        """Wait until nothing of the session is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_STOP_SECONDS)
        del os.environ[SESSION]


def _in_memory() -> Path | None:
    """Where an fsync costs nothing, if there is room: the servers that tests kill run on a machine that goes on."""
    with suppress(OSError):
        if shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES:
            return _MEMORY
    return None


def ask(address: str, question: str) -> Any:
    """What the keeper answers. Raises `RuntimeError` with the reason why it cannot."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_START_SECONDS)
        connection.connect(address)
        with connection.makefile("rw") as stream:
            stream.write(f"{question}\n")
            stream.flush()
            answer = json.loads(stream.readline() or '{"error": "the keeper of the servers has ended"}')
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer["answer"]


# From here on: in the keeping process


class _Servers:
    """Starts each thing when it is asked for first."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._answers: dict[str, dict[str, Any]] = {}

    def answer(self, question: str) -> dict[str, Any]:
        """The same answer for everybody, also where that is an error: nothing is tried twice."""
        if question not in self._answers:
            try:
                self._answers[question] = {"answer": self._started(question)}
            except Exception as error:
                self._answers[question] = {"error": f"{type(error).__name__}: {error}"}
        return self._answers[question]

    def _started(self, question: str) -> Any:
        # The worker and the clients of the servers are loaded only where somebody needs a server.
        from tests.infrastructure.choose import infrastructure
        from tests.workbench import furnished_template

        if question == SERVERS:
            self._infrastructure = self._stack.enter_context(infrastructure())
            return asdict(self._infrastructure)
        self.answer(SERVERS)
        runner = self._stack.enter_context(asyncio.Runner())
        template = furnished_template(self._infrastructure.database_url)
        self._stack.callback(lambda: runner.run(template.__aexit__(None, None, None)))
        return runner.run(template.__aenter__())


def _keep(folder: Path, listener: socket.socket) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends when its session has ended
    with ExitStack() as stack:
        stack.callback(_leave_nothing, folder)
        servers = _Servers(stack)
        while True:
            ready, _, _ = select.select([sys.stdin.fileno(), listener.fileno()], [], [])
            if sys.stdin.fileno() in ready:
                return
            connection, _ = listener.accept()
            with connection, suppress(OSError), connection.makefile("rw") as stream:
                stream.write(json.dumps(servers.answer(stream.readline().strip())) + "\n")


def _leave_nothing(folder: Path) -> None:
    """Kill what is left of the session: a test was interrupted before it could stop what it had started."""
    mark = f"{SESSION}={folder}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(process.name) != os.getpid() and mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
