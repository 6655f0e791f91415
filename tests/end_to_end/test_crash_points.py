"""A worker killed or frozen at every crash point: nothing is lost, nothing doubled."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from tests.infrastructure.processes import is_stopped
from tests.invariants import check_invariants
from tests.workbench import Workbench, tenant, until

pytestmark = pytest.mark.real_kafka

WORKING = (
    "decode",
    "lane lock",
    "before COMMIT",
    "after COMMIT",
    "begin",
    "k-th send",
    "acks",
    "offsets",
    "EndTxn sent",
    "EndTxn answered",
)
OPENING = ("init", "register", "fence", "list", "ledger re-emission", "seek")
COMMANDS = 120


def _points(points: Sequence[str], usual: Collection[str]) -> list[object]:
    """All of them; in a usual run, those that leave Kafka and Postgres in different states."""
    return [pytest.param(point, marks=() if point in usual else pytest.mark.repeat, id=point) for point in points]


def _commands(bench: Workbench, start: int, stop: int) -> list[dict[str, object]]:
    """Fresh commands with a duplicate serial, a replay and garbage among them."""
    commands = [bench.command(tenant(n % 3), n % 3, f"unit-{n}", key=f"key-{n}") for n in range(start, stop)]
    commands[1::20] = [bench.command(tenant(0), 0, "unit-0", key=f"again-{n}") for n in range(len(commands[1::20]))]
    commands[3::20] = [{"value": b"\xff garbage", "headers": [("x", None)]} for _ in commands[3::20]]
    return [{**command, "partition": n % 2} for n, command in enumerate(commands)]


async def _crash_at_work(bench: Workbench, log: Path, crash: str) -> None:
    """Die of the first half of the commands or of the second, which comes when all lanes run and share transactions."""
    commands = _commands(bench, 0, COMMANDS)
    bench.publish(commands[: COMMANDS // 2])
    process = bench.start_worker(log, crash)
    await until(lambda: process.poll() is not None or len(bench.results()) >= COMMANDS // 2, 60, crash)
    bench.publish(commands[COMMANDS // 2 :])
    await _died(bench, process)


async def _died(bench: Workbench, process: "subprocess.Popen[bytes]") -> None:
    await asyncio.to_thread(process.wait, 60)
    assert process.returncode == -signal.SIGKILL, bench.log_tail()
    bench.workers.remove(process)


@pytest.mark.parametrize("point", _points(WORKING, ("before COMMIT", "after COMMIT", "k-th send", "EndTxn sent")))
async def test_killed_while_working(bench: Workbench, tmp_path: Path, point: str) -> None:
    """SIGKILL in the middle of a batch; the next worker goes on where the ledger says."""
    await _crash_at_work(bench, tmp_path / "first.log", f"{point}:2:kill")
    bench.start_worker(tmp_path / "second.log")
    bench.publish(_commands(bench, COMMANDS, 2 * COMMANDS))
    await bench.wait_for_results(2 * COMMANDS)
    await check_invariants(bench)


@pytest.mark.parametrize("point", _points(OPENING, ("register", "ledger re-emission")))
async def test_killed_while_opening(bench: Workbench, tmp_path: Path, point: str) -> None:
    """SIGKILL while a lane opens that has answers to emit again; the third worker still emits them once."""
    await _crash_at_work(bench, tmp_path / "first.log", "after COMMIT:2:kill")
    await _died(bench, bench.start_worker(tmp_path / "second.log", f"{point}:1:kill"))
    bench.start_worker(tmp_path / "third.log")
    await bench.wait_for_results(COMMANDS)
    await check_invariants(bench)


@pytest.mark.parametrize("point", _points(WORKING, ("before COMMIT", "offsets", "EndTxn sent")))
async def test_frozen_beyond_its_session(bench: Workbench, tmp_path: Path, point: str) -> None:
    """SIGSTOP until another worker has taken over and answered: the zombie that wakes changes nothing."""
    bench.publish(_commands(bench, 0, COMMANDS))
    await _freeze(bench, tmp_path, point)


@pytest.mark.parametrize("point", _points(("register", "fence", "ledger re-emission"), ("fence",)))
async def test_frozen_beyond_its_session_while_opening(bench: Workbench, tmp_path: Path, point: str) -> None:
    """It has answers to emit again. At `register` and `fence` its heir has two owners to fence before it may look."""
    await _crash_at_work(bench, tmp_path / "first.log", "after COMMIT:2:kill")
    await _freeze(bench, tmp_path, point)


async def _freeze(bench: Workbench, tmp_path: Path, point: str) -> None:
    zombie = bench.start_worker(tmp_path / "zombie.log", f"{point}:1:freeze")
    await until(lambda: is_stopped(zombie), 60, f"frozen at {point}\n{bench.log_tail()}")
    bench.start_worker(tmp_path / "heir.log")
    await bench.wait_for_results(COMMANDS)
    os.kill(zombie.pid, signal.SIGCONT)
    bench.publish(_commands(bench, COMMANDS, 2 * COMMANDS))
    await bench.wait_for_results(2 * COMMANDS)
    await check_invariants(bench)
    assert zombie.poll() is None, f"the zombie goes on as a member\n{bench.log_tail()}"
    assert bench.stop_worker(zombie) == 0
