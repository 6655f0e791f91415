"""The demo as a stranger runs it: a process of its own, without any setting, on its embedded servers."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO
from urllib.error import URLError

import pytest

from tests.end_to_end.test_replay_and_members import commit_offset
from tests.infrastructure.choose import server_directory
from tests.infrastructure.processes import descendants, parents
from tests.integration.test_clients import CLIENTS
from tests.workbench import Workbench, get, settings_of

ROOT = Path(__file__).parents[2]
PUBLISHED = re.compile(r"^Published ([\d,]+) commands, and read ([\d,]+) results in [\d.]+ s\.$", re.MULTILINE)
PROMISE = re.compile(r"^Promise kept: ([\d,]+) commands, one result each \(`passport-worker audit`\)\.$", re.MULTILINE)
STREAMING = r"^answered: [1-9][\d,]* of 100,000  published [\d,]+  201: [\d,]+"


class Demo:
    """A running demo; what it prints goes to a file, so that it never waits for a reader."""

    def __init__(self, out: IO[bytes], folder: Path, *arguments: str) -> None:
        self._path = Path(out.name)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PASSPORT_")}
        environment["TMPDIR"] = str(folder)
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

    def shell(self, command: str) -> subprocess.Popen[str]:
        """A command in a shell that was given what the demo printed for it, and has no other setting."""
        exports = re.findall(r"^  export .*$", self.text, re.MULTILINE)
        return subprocess.Popen(
            ["bash", "-ec", "\n".join((*exports, command))],
            env={name: value for name, value in os.environ.items() if "PASSPORT_" not in name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )

    def interrupt(self, how: signal.Signals = signal.SIGINT) -> int:
        """Ctrl-C, and the exit code; fails when a child of the demo outlives it."""
        children = descendants(self.process.pid)
        assert children
        self.process.send_signal(how)
        code = self.process.wait(60)
        assert not children & parents().keys()
        return code


StartDemo = Callable[..., Demo]


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[StartDemo]:
    """Starts a demo with some arguments; at the end none may run, and nothing may be left of it."""
    started: list[Demo] = []
    with server_directory() as folder:

        def start(*arguments: str) -> Demo:
            with (tmp_path / f"out-{len(started)}.txt").open("wb") as out:
                started.append(Demo(out, folder, *arguments))
            return started[-1]

        yield start
        for one in started:
            if one.process.poll() is None:
                one.interrupt(signal.SIGTERM)
        assert list(folder.iterdir()) == []


def test_demo_keeps_the_promise(start_demo: StartDemo) -> None:
    """300 commands in, 300 results out, of all kinds, and the audit agrees; then it ends, with exit code 0."""
    demo = start_demo("--commands", "300")
    assert demo.process.wait(120) == 0, demo.text
    assert PUBLISHED.findall(demo.text) == [("300", "300")], demo.text
    assert PROMISE.findall(demo.text) == ["300"], demo.text
    for outcome in ("201 created", "201 replayed", "400 unreadable", "401 ", "409 serial-exists", "429 "):
        assert outcome in demo.text
    assert "tp_demo_guessed" not in demo.text


def test_the_console_shows_the_stream(start_demo: StartDemo) -> None:
    """At the address that the demo prints first: lanes move, and within seconds the hour has answers."""
    demo = start_demo("--commands", "100000")
    address = demo.wait_for(r"^Look at it while it runs: (http://\S+)$")[1]
    deadline = time.monotonic() + 40
    while not re.search(r'aria-label="Answers a minute in the last hour: [1-9][\d,]* created', get(address)[1]):
        assert time.monotonic() < deadline, demo.text
        time.sleep(0.5)
    assert "All 6 lanes are moving" in get(address)[1]
    assert demo.interrupt() == 0, demo.text


def test_interrupted_demo_still_checks_what_it_published(start_demo: StartDemo) -> None:
    """Ctrl-C in the middle of the stream: a summary of the commands so far, exit code 0, no child process left."""
    demo = start_demo("--commands", "100000")
    demo.wait_for(STREAMING)
    assert demo.interrupt() == 0, demo.text
    [(published, read)], [audited] = PUBLISHED.findall(demo.text), PROMISE.findall(demo.text)
    assert published == read == audited != "100,000"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_demo_can_be_stopped_while_it_starts(start_demo: StartDemo, how: signal.Signals) -> None:
    """Servers that have just been started are stopped; nothing was published, so there is nothing to check."""
    demo = start_demo()
    demo.wait_for("starting the broker")
    assert demo.interrupt(how) == 0, demo.text
    assert "stopped before anything was published" in demo.text


@pytest.mark.long
def test_demo_that_is_over_names_no_server(start_demo: StartDemo) -> None:
    """All is gone, and named are the pages while it ran; it says how to keep it, also where Ctrl-C came before."""
    demo = start_demo("--commands", "50")
    assert demo.process.wait(120) == 0, demo.text
    interrupted = start_demo("--commands", "100000", "--keep")
    interrupted.wait_for(STREAMING)
    assert interrupted.interrupt() == 0
    for text in (demo.text, interrupted.text):
        assert text.splitlines()[-1].startswith("`passport-worker demo --keep` leaves everything running")
        assert re.findall(r".*127\.0\.0\.1", text) == ["Look at it while it runs: http://127.0.0.1"]
        assert "kcat" not in text


async def test_kept_demo_serves_the_example_programs_and_outlives_its_worker(start_demo: StartDemo) -> None:
    """In a shell with the lines that it prints and no other setting: programs, and a worker in place of its own.

    Seen to fail before: 401 for the key of the programs, and the demo ended with its worker.
    """
    demo = start_demo("--commands", "50", "--keep")
    demo.wait_for("Ctrl-C stops it")
    for name in ("aiokafka_client.py", "confluent_kafka_client.py"):
        assert _run_program(demo, name) == "eu.tracepass.passport.created.v1"
    settings = dict(re.findall(r"^  export (PASSPORT_\w+)=(\S+)$", demo.text, re.MULTILINE))
    bench = Workbench(settings, settings_of(settings))
    before = len(bench.results())
    demo.shell(demo.wait_for(r"^  (kill \d+)$")[1]).wait(10)
    demo.wait_for("^The worker has ended with exit code 0; all else goes on")
    for partition in range(bench.settings.topic_partitions):
        commit_offset(bench, partition, 0)
    worker = demo.shell("exec passport-worker run")
    try:
        assert len(await bench.wait_for_results(2 * before)) == 2 * before
        assert _run_program(demo, "aiokafka_client.py") == "eu.tracepass.passport.created.v1"
    finally:
        worker.terminate()
        assert worker.wait(15) == 0
    assert demo.interrupt() == 0, demo.text


def _run_program(demo: Demo, name: str) -> str:
    """The type of the last result that an example program prints: that of its own command."""
    printed, _ = demo.shell(f"python {CLIENTS / name}").communicate(timeout=60)
    return printed.splitlines()[-1].split()[1]


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
