"""The demo as a stranger runs it: a process of its own, without any setting, on its embedded servers."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import asyncpg
import pytest

from tests.infrastructure.choose import server_directory
from tests.infrastructure.processes import descendants, parents
from tests.integration.test_clients import CLIENTS
from tests.picture import note_of, noted, readme_command
from tests.workbench import Workbench, get

ROOT = Path(__file__).parents[2]
PUBLISHED = re.compile(r"^Published ([\d,]+) commands, and read ([\d,]+) results in [\d.]+ s\.$", re.MULTILINE)
PROMISE = re.compile(r"^Promise kept: ([\d,]+) commands, one result each \(`passport-worker audit`\)\.$", re.MULTILINE)
STREAMING = r"^answered: [1-9][\d,]* of 100,000  [\d,]+ created, [\d,]+ replayed, [\d,]+ refused$"


class Demo:
    """A running demo; what it prints goes to a file, so that it never waits for a reader."""

    def __init__(
        self, out: IO[bytes], folder: Path, *arguments: str, terminal: int = 0, environment: Mapping[str, str] = {}
    ) -> None:
        self._path = Path(out.name)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PASSPORT_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker", "demo", *([] if terminal else ["--no-live"]), *arguments],
            cwd=ROOT,
            env={**clean, "TMPDIR": str(folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=terminal or out,
            stderr=terminal or out,
            start_new_session=True,
        )

    @property
    def text(self) -> str:
        """All that it has printed, without colours."""
        text = self._path.read_text(encoding="utf-8")
        return re.sub(r"\x1b\[(?:[\d;]*m|\?25[lh])", "", text)  # and without hiding the cursor

    def wait_for(self, pattern: str, seconds: float = 90.0) -> re.Match[str]:
        """Until it has printed that."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.text, re.MULTILINE)) is None:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)
        return found

    def shell(self, command: str) -> subprocess.Popen[str]:
        """A command in another terminal, after the line that the demo printed for it; settings there lead elsewhere."""
        (settings,) = re.findall(r"^  (\. .*settings\.sh)$", self.text, re.MULTILINE)
        elsewhere = {"PASSPORT_DATABASE_URL": "postgresql://192.0.2.1/x", "PGSSLMODE": "verify-full"}
        return subprocess.Popen(
            ["sh", "-ec", f"{settings}\n{command}"],
            env={**os.environ, **elsewhere, "PASSPORT_GROUP_ID": "another", "PASSPORT_CHANNELS": "acme"},
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

        def start(*arguments: str, **environment: str) -> Demo:
            with (tmp_path / f"out-{len(started)}.txt").open("wb") as out:
                started.append(Demo(out, folder, *arguments, environment=environment))
            return started[-1]

        yield start
        for one in started:
            if one.process.poll() is None:
                one.interrupt(signal.SIGTERM)
        assert list(folder.iterdir()) == []


async def test_demo_keeps_the_promise_and_leaves_the_servers_of_the_environment_alone(
    bench: Workbench, start_demo: StartDemo
) -> None:
    """300 commands in, 300 results out, of all kinds, and the audit agrees; then it ends, with exit code 0.

    Seen to fail before: companies and API keys, which everybody knows, were loaded into somebody's database.
    """
    demo = start_demo("--commands", "300", **bench.environment)
    assert await asyncio.to_thread(demo.process.wait, 120) == 0, demo.text
    assert PUBLISHED.findall(demo.text) == [("300", "300")], demo.text
    assert PROMISE.findall(demo.text) == ["300"], demo.text
    for outcome in ("201 created", "201 replayed", "400 unreadable", "401 ", "409 serial-exists", "429 "):
        assert outcome in demo.text
    assert "tp_demo_guessed" not in demo.text
    assert "ignored, since the demo starts its own servers. --use-environment uses yours." in demo.text
    assert await _companies(bench, "EuroBat GmbH") == 0


async def test_servers_of_the_environment_are_used_where_somebody_asks(bench: Workbench, start_demo: StartDemo) -> None:
    """Beside a worker of theirs on this machine, which has the port of its metrics."""
    with socket.create_server(("127.0.0.1", 0)) as worker:
        port = str(worker.getsockname()[1])
        theirs = {**bench.environment, "PASSPORT_HTTP_PORT": port}
        demo = start_demo("--commands", "20", "--use-environment", "--yes", **theirs)
        assert await asyncio.to_thread(demo.process.wait, 120) == 0, demo.text
    assert f"Kafka: {bench.settings.kafka_bootstrap_servers}" in demo.text
    assert await _companies(bench, "EuroBat GmbH") == 1
    assert len(await asyncio.to_thread(bench.results)) == 20


async def _companies(bench: Workbench, name: str) -> int:
    connection = await asyncpg.connect(bench.settings.database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM company WHERE name = $1", name))
    finally:
        await connection.close()


def test_the_console_shows_the_stream_until_it_is_interrupted(start_demo: StartDemo) -> None:
    """At the address that the demo prints first: lanes move, and it looks as in README's picture.

    Where the headings differ, take the picture again: `python -m tests.picture`. Ctrl-C in the middle of the stream: a
    summary of the commands so far, exit code 0, no child process left.
    """
    demo = start_demo("--commands", "100000")
    address = demo.wait_for(r"^Look at it while it runs: (http://\S+)$")[1]
    deadline = time.monotonic() + 40
    while not re.search(r'aria-label="Answers per minute in the last hour: [1-9][\d,]* created', get(address)[1]):
        assert time.monotonic() < deadline, demo.text
        time.sleep(0.5)
    assert noted() == note_of(readme_command(), get(address)[1])
    demo.wait_for(STREAMING)
    assert demo.interrupt() == 0, demo.text
    [(published, read)], [audited] = PUBLISHED.findall(demo.text), PROMISE.findall(demo.text)
    assert published == read == audited != "100,000"


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.repeat), signal.SIGHUP])
def test_demo_can_be_stopped_while_it_starts(start_demo: StartDemo, how: signal.Signals) -> None:
    """Servers that have just been started are stopped; nothing was published, so there is nothing to check."""
    demo = start_demo()
    demo.wait_for("starting the broker")
    assert demo.interrupt(how) == 0, demo.text
    assert "stopped before anything was published" in demo.text


def test_ctrl_c_reaches_no_server_that_starts(start_demo: StartDemo) -> None:
    """A terminal sends it to all processes. Seen to fail before: initdb ended, and the demo failed."""
    demo = start_demo()
    demo.wait_for("starting PostgreSQL")
    while not any("initdb" in line for line in _processes() if str(demo.process.pid) in line.split()[:2]):
        time.sleep(0.01)
    os.killpg(demo.process.pid, signal.SIGINT)
    assert demo.process.wait(60) == 0, demo.text
    assert "stopped before anything was published" in demo.text


def _processes() -> list[str]:
    """Id, parent and arguments of all processes."""
    listed = subprocess.run(["ps", "-ewwo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


@pytest.mark.long
def test_demo_that_is_over_names_no_server(start_demo: StartDemo) -> None:
    """All is gone, and named are the pages while it ran; it says how to keep it, also where Ctrl-C came before."""
    demo = start_demo("--commands", "50")
    assert demo.process.wait(120) == 0, demo.text
    interrupted = start_demo("--commands", "100000", "--keep")
    interrupted.wait_for(STREAMING)
    assert interrupted.interrupt() == 0
    for text in (demo.text, interrupted.text):
        assert text.splitlines()[-1].startswith("`passport-worker demo --keep` continues until Ctrl-C")
        assert re.findall(r".*127\.0\.0\.1", text) == ["Look at it while it runs: http://127.0.0.1"]
        assert "kcat" not in text


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo on a terminal of 80 columns, until the end of the tests that share it. Ctrl-C leaves nothing of it."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, 80))
    environment = {"COLUMNS": "", "TERM": "xterm"}
    with server_directory() as folder:
        with (tmp_path_factory.mktemp("kept") / "out.txt").open("wb", buffering=0) as out:
            copying = threading.Thread(target=_copy, args=(ours, out))
            copying.start()
            demo = Demo(out, folder, "--commands", "300", "--keep", terminal=theirs, environment=environment)
            os.close(theirs)
            demo.wait_for("until Ctrl-C")
            yield demo
            assert demo.interrupt() == 0, demo.text
            copying.join(10)
        os.close(ours)
        assert list(folder.iterdir()) == []


def _copy(terminal: int, out: IO[bytes]) -> None:
    with suppress(OSError):  # the end of what a terminal shows
        while text := os.read(terminal, 65536):
            out.write(text.replace(b"\r\n", b"\n"))


def test_nothing_breaks_within_a_word_at_80_columns(kept: Demo) -> None:
    """On a terminal: no line is longer, so that the terminal breaks none, and the progress bar cuts no number.

    Seen to fail before: `Kans…`, `35/…` beside the bar, and prose of 98 columns.
    """
    lines = re.split(r"[\r\n]|\x1b\[\S*[A-Z]", kept.text)
    progress = re.compile(r"answered [━╸╺]+ +2\d\d/300 \d:\d\d:\d\d 1\d\d created, \d+ replayed, \d+ refused *")
    assert any(map(progress.fullmatch, lines))
    cut = re.compile(r"\S…")
    assert [line for line in lines if (len(line) > 80 and "/passport-demo-" not in line) or cut.search(line)] == []


def test_kept_demo_goes_on_and_what_it_offers_works(kept: Demo) -> None:
    """Traffic goes on until Ctrl-C. Pasted into another terminal, each command but kcat does what the text says."""
    metrics = kept.wait_for(r"metrics at\s+(http://\S+)$")[1]
    kept.wait_for("^Factories continue, with 2 commands per second, until Ctrl-C.$")
    before = _answered(metrics)
    submit, tail, explain, kcat = re.findall(r"^  ((?:passport-worker|kcat) .*)$", kept.text, re.MULTILINE)
    printed, _ = kept.shell(submit).communicate(timeout=60)
    assert printed.startswith("5 rows: 4 created, 1 rejected")
    tailing = kept.shell(f"exec timeout 60 {tail}")
    assert tailing.stdout is not None
    assert any("Product not found" in line for line in tailing.stdout)
    tailing.terminate()
    story, _ = kept.shell(explain).communicate(timeout=60)
    assert kept.wait_for(r"^Ask why a command got its answer, here (\S+):$")[1] in story
    assert re.fullmatch(r"kcat -C -b 127\.0\.0\.1:\d+ -t dpp\.passport\.created\.v1 -o -1 -e", kcat)
    assert _answered(metrics) >= before + 5 + 3, "the stream goes on"


def test_kept_demo_serves_the_example_programs_and_outlives_its_worker(kept: Demo) -> None:
    """In a shell with the lines that it prints and no other setting: programs, and a worker in place of its own.

    Seen to fail before: 401 for the key of the programs; the demo ended with its worker; and behind a worker that was
    killed, as people do who want to see it lose nothing, the one in its place got no lane, since the small broker keeps
    members that are gone.
    """
    for name in ("aiokafka_client.py", "confluent_kafka_client.py"):
        assert _run_program(kept, name) == "eu.tracepass.passport.created.v1"
    (worker_id,) = re.findall(rf"^ *(\d+) +{kept.process.pid} .* -m worker run$", "\n".join(_processes()), re.MULTILINE)
    os.kill(int(worker_id), signal.SIGKILL)
    kept.wait_for("^The worker has ended with exit code -9; the rest runs on")
    worker = kept.shell("exec passport-worker run")
    try:
        assert _run_program(kept, "aiokafka_client.py") == "eu.tracepass.passport.created.v1"
    finally:
        worker.terminate()
        assert worker.wait(15) == 0


def _run_program(demo: Demo, name: str) -> str:
    """The type of the last result that an example program prints: that of its own command."""
    printed, _ = demo.shell(f"python {CLIENTS / name}").communicate(timeout=60)
    return printed.splitlines()[-1].split()[1]


def _answered(metrics: str) -> float:
    counts = re.findall(r"^passport_outcomes_total{.*} (\S+)$", get(metrics)[1], re.MULTILINE)
    return sum(map(float, counts))
