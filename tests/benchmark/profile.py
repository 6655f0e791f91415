"""Where the worker's CPU goes: py-spy's stacks of a run under full load, by step."""

import asyncio
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from subprocess import DEVNULL

import asyncpg
from rich.table import Table

from tests.benchmark.figures import console
from tests.benchmark.memory import cpu_seconds
from tests.benchmark.place import Place
from tests.benchmark.statements import print_statements, reset_statements
from tests.benchmark.throughput import WORKER

# From the innermost frame outwards, the first that holds one of these marks names the step: `function (file:line)`.
STEPS = (
    ("authenticate", ("_credentials (", "authenticate (", "worker/auth/", "messages/signature.py")),
    (
        "parse",
        (
            "worker/messages/envelope",
            "worker/messages/body",
            "worker/messages/json_value",
            "worker/stream/command_reader",
        ),
    ),
    ("fetch", ("worker/stream/group", "worker/stream/reader", "worker/stream/inbox", "aiokafka/consumer/")),
    ("commit", ("commit_transaction (", "send_offsets_to_transaction (", "commit (worker/store", "EndTxn", "Txn")),
    ("send", ("worker/stream/producer", "aiokafka/producer/")),
    ("encode", ("worker/messages/events",)),
    ("decide", ("worker/domain/decide", "worker/domain/facts", "decide_all (")),
    ("gather", ("worker/store/facts", "worker/store/look_up", "worker/store/known_catalogue")),
    ("write", ("worker/store/",)),
)
# What is under none of them: callbacks of the event loop.
CALLBACKS = (
    ("log and metrics", ("worker/observability/", "structlog/")),
    ("Kafka responses", ("aiokafka/",)),
    ("Postgres responses", ("asyncpg/",)),
    ("rest of the worker", ("worker/stream", "worker/batch", "worker/service")),
)
OTHER = "event loop and its C callbacks"


def profile(place: Place, count: int, stacks: Path) -> None:
    """Run the worker over `count` commands and print its CPU and Postgres's, a command, by step."""
    worker = place.start(*WORKER.module)
    with place.reader() as reader:
        place.warm_up(reader)
        gate = place.gate()
        gate.fill(place.stream(count))
        asyncio.run(_with_statements(place, 0))
        spy = _spy(worker.pid, stacks)
        used = cpu_seconds(worker.pid)
        gate.open()
        place.wait(reader, "profile")
        used = cpu_seconds(worker.pid) - used
        spy.send_signal(signal.SIGINT)
        spy.wait(30)
        place.stop()
    _print_steps(steps_of(stacks.read_text(errors="replace")), used, count)
    asyncio.run(_with_statements(place, count))


async def _with_statements(place: Place, count: int) -> None:
    """Reset the statistics before a run, and show them after it."""
    if not place.servers.has_statements:
        return
    connection = await asyncpg.connect(place.settings.database_url)
    try:
        await (print_statements(connection, count) if count else reset_statements(connection))
    finally:
        await connection.close()


def _spy(pid: int, stacks: Path) -> "subprocess.Popen[bytes]":
    program = str(Path(sys.executable).parent / "py-spy")
    options = ["--format", "raw", "--output", str(stacks), "--rate", "250", "--full-filenames", "--nonblocking"]
    spy = subprocess.Popen([program, "record", "--pid", str(pid), *options], stdout=DEVNULL, stderr=DEVNULL)
    time.sleep(1.0)
    return spy


def steps_of(stacks: str) -> Counter[str]:
    """Samples by step, from py-spy's raw lines: `frame;frame;… count`. A frame's name may hold anything.

    It looks at a process that goes on, and now and then sees rubbish.
    """
    counted: Counter[str] = Counter()
    for line in filter(None, stacks.split("\n")):
        frames, _, count = line.rpartition(" ")
        if count.isascii() and count.isdigit():
            counted[_step(frames.split(";"))] += int(count)
    return counted


def _step(frames: list[str]) -> str:
    for steps in (STEPS, CALLBACKS):
        for frame in reversed(frames):
            for step, marks in steps:
                if any(mark in frame for mark in marks):
                    return step
    return OTHER


def _print_steps(counted: Counter[str], used: float, count: int) -> None:
    total = counted.total()
    table = Table(title=f"The worker's CPU: {used / count * 1e6:.0f} µs for each of {count:,} commands")
    for heading in ("step", "µs a command", "share"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for step, samples in counted.most_common():
        table.add_row(step, f"{used / count * 1e6 * samples / total:.1f}", f"{samples / total:.0%}")
    console.print(table)
