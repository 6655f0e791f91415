"""Readiness and the number of partitions follow the group, and what ends although it should go on begins again."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.guards_helpers import commands, publish, running
from tests.workbench import Workbench, until
from worker import preflight, service
from worker.store.postgres import SESSION_SETTINGS
from worker.stream import background
from worker.stream.group import GroupMembership

pytestmark = pytest.mark.real_kafka

WAITING = "waiting for the group to assign partitions"


def _assigned(worker: service.Worker) -> float | None:
    return worker._metrics.registry.get_sample_value("passport_assigned_partitions")


async def test_a_worker_too_many_is_ready_and_has_nothing(bench: Workbench) -> None:
    """It stands by: it does all that is asked of it, and must hold up neither a rollout nor the drain of a node."""
    async with AsyncExitStack() as stack:
        workers = [(await stack.enter_async_context(running(bench))).worker for _ in range(3)]
        await until(lambda: sorted(_assigned(one) or 0 for one in workers) == [0, 1, 1], 30, "one has nothing")
        await until(lambda: not any(one.not_ready() for one in workers), 20, "all are ready")


async def test_nobody_is_ready_while_a_rebalance_goes_on(bench: Workbench, tmp_path: Path) -> None:
    """A member that does not answer holds the group up until its session is over: nothing is answered meanwhile.

    Seen to fail without the first lines of `GroupMembership._close_lanes`: it was ready all the time.
    """
    async with running(bench) as one:
        assert (one.worker.not_ready(), _assigned(one.worker)) == ([], 2)
        frozen = bench.start_worker(tmp_path / "frozen.log", PASSPORT_KAFKA_SESSION_TIMEOUT_SECONDS="8")
        await until(lambda: _assigned(one.worker) == 1 and not one.worker.not_ready(), 30, "they share")
        os.kill(frozen.pid, signal.SIGSTOP)
        bench.start_worker(tmp_path / "third.log")
        await until(lambda: one.worker.not_ready() == [WAITING], 30, "it says that it waits")
        assert _assigned(one.worker) == 0
        await until(lambda: not one.worker.not_ready(), 30, "it is ready again")
        await until(lambda: _assigned(one.worker) == 1, 20, "with a partition")
    assert _assigned(one.worker) == 0


async def test_background_tasks_begin_again(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever cancelled them, or whatever they raised: aiokafka lets stray cancellations out while a broker is away.

    Seen to fail without `Background`: the tasks were gone, and nobody noticed.
    """
    monkeypatch.setattr(background, "RESTART_SECONDS", 0.01)
    async with running(bench):
        for name in ("watch-servers", "housekeeping", "survey"):
            (first,) = _tasks(name)
            first.cancel()
            await until(lambda: _tasks(name) != [] and _tasks(name) != [first], 20, f"{name} runs again")  # noqa: B023
    assert not any(_tasks(name) for name in ("watch-servers", "housekeeping", "survey"))


def _tasks(name: str) -> list["asyncio.Task[object]"]:
    return [task for task in asyncio.all_tasks() if task.get_name().startswith(name)]


@pytest.mark.parametrize("victim", ["lanes", "reader"])
async def test_a_lane_or_a_reader_that_is_cancelled_makes_a_new_membership(bench: Workbench, victim: str) -> None:
    """Seen to fail without `apart` and `StrayCancellation`: the partition was alone, or the worker ended."""
    async with running(bench) as one:
        before = one.assignment
        (task,) = _tasks(victim)
        task.cancel()
        await until(lambda: one.worker._membership is not before and one.lanes_run(), 30, "it is a member again")
        await publish(bench, commands(bench, 0, 2, None))
        await bench.wait_for_results(2)


async def test_a_stray_cancellation_at_the_start_is_tried_again(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both before it joins and in the membership itself."""
    _cancelled_once(monkeypatch, preflight, "check_schema")
    _cancelled_once(monkeypatch, GroupMembership, "_read_until_stopped")
    async with running(bench) as one:
        assert one.worker.not_ready() == []


def _cancelled_once(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    original: Callable[..., Awaitable[object]] = getattr(owner, name)
    left = [asyncio.CancelledError()]

    async def once(*arguments: object) -> object:
        if left:
            raise left.pop()
        return await original(*arguments)

    monkeypatch.setattr(owner, name, once)


async def test_a_turn_that_never_ends_is_noticed(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for it waits for ever, so `/livez` says that the lane does not move."""
    monkeypatch.setattr(service, "STUCK_SECONDS", 1.0)
    async with running(bench) as one:
        monkeypatch.setattr(one.worker._shared.processor, "process", lambda _: asyncio.Event().wait())
        await publish(bench, commands(bench, 0, 1))
        await until(lambda: any("no progress" in problem for problem in one.worker.not_alive()), 20, "/livez says so")


async def test_a_turn_that_waits_for_somebodys_lock_is_alive(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten BEGIN may hold it up for minutes, attempt after attempt, and a restart would cure nothing.

    Seen to fail: `/livez` failed after two minutes, and all workers were killed at once, again and again.
    """
    monkeypatch.setattr(service, "STUCK_SECONDS", 1.0)
    monkeypatch.setitem(SESSION_SETTINGS, "lock_timeout", "200ms")
    other = await bench.connect()
    async with running(bench) as one:
        async with other.transaction():
            await other.execute("LOCK TABLE company_usage")
            await publish(bench, commands(bench, 0, 1))
            membership = one.worker._membership
            assert membership is not None
            (lane,) = (lane for lane in membership.lanes.values() if lane.partition.partition == 0)
            await until(lambda: lane.inbox.is_busy, 10, "the command waits")
            for _ in range(25):
                assert one.worker.not_alive() == []
                await asyncio.sleep(0.1)
        await bench.wait_for_results(1)
    await other.close()
