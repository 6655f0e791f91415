"""The demo as a stranger runs it: a process of its own, without any setting, on its embedded servers."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO
from urllib.error import URLError

import pytest

ROOT = Path(__file__).parents[2]
PROMISE = re.compile(r"^Promise kept: ([\d,]+) in, ([\d,]+) out, none missing, none twice, order kept\.$", re.MULTILINE)


class Demo:
    """A running demo; what it prints goes to a file, so that it never waits for a reader."""

    def __init__(self, out: IO[bytes], *arguments: str) -> None:
        self._path = Path(out.name)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PASSPORT_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker", "demo", "--no-live", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )

    @property
    def text(self) -> str:
        """All that it has printed."""
        return self._path.read_text(encoding="utf-8")

    def wait_for(self, pattern: str, seconds: float = 90.0) -> re.Match[str]:
        """Until it has printed that."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.text, re.MULTILINE)) is None:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)
        return found

    def interrupt(self, how: signal.Signals = signal.SIGINT) -> int:
        """Ctrl-C, and the exit code; fails when a child of the demo outlives it."""
        children = _descendants(self.process.pid)
        assert children
        self.process.send_signal(how)
        code = self.process.wait(60)
        assert not children & _parents().keys()
        return code


def _parents() -> dict[int, int]:
    """Parents of all processes, by process id."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    return {int(pid): int(parent) for pid, parent in map(str.split, listed.stdout.splitlines())}


def _descendants(ancestor: int) -> set[int]:
    parents = _parents()
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in {ancestor, *found}} - found:
        found |= more
    return found


def _folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("passport-demo-*"))


StartDemo = Callable[..., Demo]


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[StartDemo]:
    """Starts a demo with some arguments; at the end none may run, and no folder may be left."""
    folders = _folders()
    started: list[Demo] = []

    def start(*arguments: str) -> Demo:
        with (tmp_path / "out.txt").open("wb") as out:
            started.append(Demo(out, *arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.interrupt(signal.SIGTERM)
    assert _folders() <= folders


def test_demo_keeps_the_promise(start_demo: StartDemo) -> None:
    """300 commands in, 300 results out, of all kinds; then it ends by itself, with exit code 0."""
    demo = start_demo("--commands", "300")
    assert demo.process.wait(120) == 0, demo.text
    promise = PROMISE.search(demo.text)
    assert promise is not None, demo.text
    assert promise.groups() == ("300", "300")
    for outcome in ("201 created", "201 replayed", "400 unreadable", "401 ", "409 serial exists", "429 "):
        assert outcome in demo.text
    assert "tp_demo_guessed" not in demo.text


def test_interrupted_demo_still_checks_what_it_published(start_demo: StartDemo) -> None:
    """Ctrl-C in the middle of the stream: a summary of the commands so far, exit code 0, no child process left."""
    demo = start_demo("--commands", "100000")
    demo.wait_for(r" s  in [\d,]+  out [1-9]")
    assert demo.interrupt() == 0, demo.text
    promise = PROMISE.search(demo.text)
    assert promise is not None, demo.text
    assert promise[1] == promise[2] != "100,000"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_demo_can_be_stopped_while_it_starts(start_demo: StartDemo, how: signal.Signals) -> None:
    """Servers that have just been started are stopped; nothing was published, so there is nothing to check."""
    demo = start_demo()
    demo.wait_for("starting the broker")
    assert demo.interrupt(how) == 0, demo.text
    assert "stopped before anything was published" in demo.text


def test_kept_demo_answers_until_it_is_interrupted(start_demo: StartDemo) -> None:
    """`--keep` prints addresses at which it can be asked, until Ctrl-C."""
    demo = start_demo("--commands", "50", "--keep")
    url = demo.wait_for(r"curl (http://\S+)/readyz")[1]
    demo.wait_for("Ctrl-C stops it")
    with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
        assert answer.read() == b"ok\n"
    assert demo.interrupt() == 0, demo.text
    with pytest.raises(URLError):
        urllib.request.urlopen(f"{url}/readyz", timeout=10)
