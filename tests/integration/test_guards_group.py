"""Guards B2, B6, B7 and B11: the group keeps its member, and a worker that is stuck or unfit says so."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka.consumer.subscription_state import SubscriptionState

from tests.conftest import MakeBench
from tests.integration.guards_helpers import LANE_ROWS, Running, commands, held, publish, running
from tests.invariants import check_invariants
from tests.workbench import REPOSITORY, Workbench, until
from worker import service
from worker.store.port import Owner, Registered
from worker.stream.inbox import Budget, Inbox
from worker.stream.lane import Lane, LaneState
from worker.stream.opening import Opening
from worker.stream.producer import Emitter

# B2


@pytest.mark.real_kafka
async def test_b2_lanes_that_open_slowly_do_not_cost_the_membership(bench: Workbench) -> None:
    """The callback is over while its lanes wait for Postgres for twice the session timeout; heartbeats go on.

    Seen to fail with a callback that awaits its lanes: the broker put the member out, and it joined again.
    """
    async with held(bench), running(bench, opened=False) as one:
        coordinator = one.assignment._consumer._coordinator
        before = (coordinator.generation, coordinator.member_id)
        await asyncio.sleep(2 * bench.settings.kafka_session_timeout_seconds)
        assert {lane.state for lane in one.assignment.lanes.values()} == {LaneState.OPENING}
        assert await one.worker._cluster.is_member(bench.settings.group_id, *before)
        assert (coordinator.generation, coordinator.member_id) == before


@pytest.mark.real_kafka
async def test_a_member_of_an_older_generation_does_not_take_a_lane_by_force(bench: Workbench) -> None:
    """After a reset of the group the lane's row names a higher generation; only a present member may pass over that.

    Seen to fail while the broker was asked for the member alone.
    """
    async with running(bench) as one:
        coordinator = one.assignment._consumer._coordinator
        connection = await bench.connect()
        await connection.execute("UPDATE lane SET generation_id = 1000000, member_id = 'before the reset'")
        await connection.close()
        stale, none = await _registered(one, coordinator.generation - 1)
        assert (stale.state, none) == (LaneState.LOST, None)
        assert stale.reason == "held for generation 1000000 by before the reset"
        _, present = await _registered(one, coordinator.generation)
        assert present is not None
        assert present.token.epoch == 2


async def _registered(one: Running, generation: int) -> tuple[Lane, Registered | None]:
    """A lane of partition 0 after step 2 of an opening by this worker's member in that generation."""
    shared, news = one.worker._shared, asyncio.Event()
    lane = Lane(one.lane().name, Inbox(100, Budget(1000)), shared.hooks)
    owner = Owner(generation, one.assignment._consumer._coordinator.member_id, f"{generation}")
    opening = Opening(
        [lane], owner, Emitter(shared.settings, owner.producer, shared.hooks), shared, one.assignment, news
    )
    opening.stop()
    await opening._register([lane])
    return lane, opening._registered.get(lane)


# B6


def test_b6_the_worker_refuses_to_run_without_assertions(tmp_path: Path) -> None:
    """`python -O` ends at once with exit code 1 and the reason.

    Seen to fail without the check: the worker waited for its servers.
    """
    done = subprocess.run(
        [sys.executable, "-O", "-m", "worker", "run"],
        cwd=REPOSITORY,
        env={"PASSPORT_HTTP_PORT": "0", "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "run without -O" in done.stderr


# B7


@pytest.mark.real_kafka
async def test_b7_a_lane_without_progress_is_named(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that holds records and does not move makes the worker not alive, and only for so long.

    Seen to fail with a `not_alive` that looks at the membership alone: it named nothing.
    """
    monkeypatch.setattr(service, "STUCK_SECONDS", 1.0)
    async with running(bench) as one:
        assert one.worker.not_alive() == []
        async with held(bench, LANE_ROWS):
            await publish(bench, commands(bench, 0, 10))
            await until(lambda: bool(one.worker.not_alive()), 10, "a lane that is stuck")
            (named,) = one.worker.not_alive()
            assert named.startswith("partition 0: no progress for ")
        await bench.wait_for_results(10)
        await until(lambda: one.worker.not_alive() == [], 10, "alive again")
    await check_invariants(bench)


@pytest.mark.real_kafka
async def test_b7_a_member_that_polls_nothing_for_long_stays_one(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour without a poll, as when Postgres is away, is no reason to leave the group.

    Seen to fail with aiokafka's own `max_poll_interval_ms` of five minutes: the member left.
    """
    async with held(bench), running(bench, opened=False) as one:
        coordinator = one.assignment._consumer._coordinator
        before = (coordinator.generation, coordinator.member_id)
        monkeypatch.setattr(SubscriptionState, "fetcher_idle_time", property(lambda self: 3600.0))
        await asyncio.sleep(1.2 * bench.settings.kafka_session_timeout_seconds)
        assert (coordinator.generation, coordinator.member_id) == before
        assert await one.worker._cluster.is_member(bench.settings.group_id, *before)


# B11


@pytest.mark.real_kafka
async def test_b11_a_member_that_stops_leaves_its_partitions_at_once(make_bench: MakeBench) -> None:
    """Two workers share the partitions; what one gives up the other has long before the session timeout.

    Seen to fail with a `group_instance_id`: a static member does not leave, and its partitions waited for 30 s.
    """
    bench = await make_bench(PASSPORT_KAFKA_SESSION_TIMEOUT_SECONDS="30")
    async with running(bench) as heir:
        async with running(bench) as leaver:
            await until(lambda: len(heir.assignment.lanes) == 1 and heir.lanes_run(), 20, "one partition each")
            assert len(leaver.assignment.lanes) == 1
            await publish(bench, commands(bench, 0, 40, None))
            await bench.wait_for_results(40)
        await until(lambda: len(heir.assignment.lanes) == 2 and heir.lanes_run(), 15, "all partitions")
        await publish(bench, commands(bench, 40, 60, None))
        await bench.wait_for_results(60)
    await check_invariants(bench)
