"""Processes of the command line that start in milliseconds: forks of one that has imported the worker.

    with ForkedProcess("worker", ["run"], env={...}, stderr=log) as process:  # a `subprocess.Popen` in all else
        process.send_signal(signal.SIGTERM)

A real start takes a second, most of it for imports. So each process of the test session has a template process, which
imports all modules of the worker and then waits. A fork of it has its own environment, signals, exit code and event
loop, and may be killed or frozen. Start a real interpreter where a test is about imports, memory or the interpreter's
options. An environment with variables of Python or OpenTelemetry gets one anyway: they are read while modules load.
"""

import array
import atexit
import gc
import json
import os
import pkgutil
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, AnyStr, NoReturn

_REPOSITORY = Path(__file__).parent.parent.parent
_READ_WHILE_LOADING = ("PYTHON", "OTEL_")
# Where compiled modules are kept, and how streams are buffered, which a fork opens anew.
_HARMLESS = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONUNBUFFERED")
_MOST_BYTES = 1 << 20


class ForkedProcess(subprocess.Popen[AnyStr]):
    """`python -m MODULE ARGUMENTS` in the repository's folder; without `forked`, a real start.

    Another folder (`tree`) has modules of its own, so it gets a real start, too.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        forked: bool = True,
        tree: Path = _REPOSITORY,
        **options: Any,
    ) -> None:
        self._module, self._arguments = module, list(arguments)
        if tree != _REPOSITORY:
            env = {**(env or os.environ), "PYTHONPATH": str(tree)}
        self._is_forked = forked and tree == _REPOSITORY and not _loads_differently(env)
        self._status: socket.socket | None = None
        super().__init__(
            [sys.executable, "-m", module, *arguments], cwd=tree, env=env, start_new_session=True, **options
        )

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, *others: Any) -> None:
        """Ask the template to fork. Popen calls this with the ends of its pipes; -1 is a stream of this process."""
        cwd, env, ends = others[2], others[3], others[7:13]
        if not self._is_forked:
            super()._execute_child(args, executable, preexec_fn, *others)  # type: ignore[misc]
            return
        streams: list[int] = [own if end == -1 else end for own, end in enumerate((ends[0], ends[3], ends[5]))]
        job = {"module": self._module, "arguments": self._arguments, "cwd": str(cwd), "env": dict(env or os.environ)}
        self._status, theirs = socket.socketpair()
        with theirs:
            _template().fork(job, [*streams, theirs.fileno()])
        self.pid = int.from_bytes(self._status.recv(8), "big")
        assert self.pid, "the template process has ended"
        self._child_created = True
        self._close_pipe_fds(*ends)  # type: ignore[attr-defined]

    def _internal_poll(self, *arguments: Any, **options: Any) -> int | None:
        if self._status is None:
            return super()._internal_poll(*arguments, **options)  # type: ignore[misc,no-any-return]
        if self.returncode is None and self._waitpid_lock.acquire(False):  # type: ignore[attr-defined]
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """As `os.waitpid`, which only the parent of a process may call: the template tells the exit status."""
        if self._status is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc,no-any-return]
        if wait_flags == os.WNOHANG and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        told = self._status.recv(8)
        self._status.close()
        return self.pid, int.from_bytes(told, "big") if told else signal.SIGKILL  # it ended with the template


def run_forked(
    module: str, arguments: Sequence[str], env: Mapping[str, str], stdin: str = "", seconds: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`, of a fork, with what it printed."""
    pipe = subprocess.PIPE
    with ForkedProcess[str](module, arguments, env, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            stdout, stderr = process.communicate(stdin, seconds)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def _loads_differently(env: Mapping[str, str] | None) -> bool:
    """Whether an environment changes what modules do while they load."""
    names = {name for name in (*(env or ()), *os.environ) if name.startswith(_READ_WHILE_LOADING)} - {*_HARMLESS}
    return env is not None and any(env.get(name) != os.environ.get(name) for name in names)


class _Template:
    """The process that is forked, seen from the one that asks."""

    def __init__(self) -> None:
        self._asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            command = [sys.executable, "-m", __name__, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, cwd=_REPOSITORY, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        atexit.register(self.close)

    def fork(self, job: Mapping[str, object], descriptors: Sequence[int]) -> None:
        """Hand over what a fork needs; it tells its process id over the last of the descriptors."""
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        with self._lock:
            self._asking.sendmsg([json.dumps(job).encode()], [rights])

    def close(self) -> None:
        """End it with all of its forks."""
        self._asking.close()
        self._process.wait(10)


_templates: list[_Template] = []
_making = threading.Lock()


def _template() -> _Template:
    with _making:
        if not _templates:
            _templates.append(_Template())
        return _templates[0]


# From here on: in the template process


def _serve(asking: socket.socket) -> dict[str, Any]:
    """Fork whenever somebody asks; returns in the forks alone, with what each has to do."""
    woken, waking = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([asking.fileno(), woken], [], [])
        with suppress(BlockingIOError):
            os.read(woken, 1000)
        while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            _tell(running.pop(ended[0]), ended[1])
        if asking.fileno() not in ready:
            continue
        text, descriptors, _, _ = socket.recv_fds(asking, _MOST_BYTES, 4)
        if not text:  # the process that asked has ended, however it did
            _end(running)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (asking.detach(), woken, waking, descriptors.pop(), *running.values()):
                os.close(descriptor)
            return {**json.loads(text), "streams": descriptors}
        running[pid] = descriptors.pop()
        _tell(running[pid], pid, last=False)
        for descriptor in descriptors:
            os.close(descriptor)


def _tell(status: int, number: int, *, last: bool = True) -> None:
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(status, number.to_bytes(8, "big"))
    if last:
        os.close(status)


def _end(running: Mapping[int, int]) -> NoReturn:
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _become(job: Mapping[str, Any]) -> None:
    """Be the process that was asked for, as if an interpreter had just started it."""
    os.setsid()
    for number, descriptor in enumerate(job["streams"]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(job["env"])
    time.tzset()
    os.chdir(job["cwd"])
    random.seed()  # all forks would draw the same numbers
    sys.argv[1:] = job["arguments"]
    # The streams of the template may hold what it has not written yet, and stderr is written line by line.
    sys.stdin = open(0, encoding=sys.stdin.encoding, errors=sys.stdin.errors, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, sys.stderr.encoding, sys.stderr.errors, closefd=False)  # noqa: SIM115


def _run(module: str) -> int:
    """Its exit code, as an interpreter would end with it."""
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = _exit_code(ended.code)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # threads that are no daemons go on to their ends
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    with suppress(OSError):
        sys.stderr.flush()
    return code


def _exit_code(said: object) -> int:
    if said is None or isinstance(said, int):
        return said or 0
    print(said, file=sys.stderr)
    return 1


def _load_the_worker() -> None:
    """All modules that can be loaded here; extras may be missing."""
    worker = import_module("worker")
    for module in pkgutil.walk_packages(worker.__path__, "worker."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError):
                import_module(module.name)
    gc.collect()
    gc.freeze()  # so that no fork has to look through it


if __name__ == "__main__":
    _load_the_worker()
    job = _serve(socket.socket(fileno=int(sys.argv[1])))
    _become(job)
    os._exit(_run(job["module"]))
