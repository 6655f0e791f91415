"""A lane belongs to one topic of one cluster: where the name stands for another one it halts, and looks again."""

import asyncio

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.integration.guards_helpers import Running, commands, publish, running
from tests.workbench import Workbench, until
from worker.stream import halts
from worker.stream.lane import LaneState

pytestmark = pytest.mark.real_kafka


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A halted lane looks again soon."""
    monkeypatch.setattr(halts, "HALTED_LOOK_SECONDS", 0.5)


def _delete(bench: Workbench) -> None:
    admin = AdminClient({"bootstrap.servers": bench.settings.kafka_bootstrap_servers})
    topic = bench.settings.topic_commands
    admin.delete_topics([topic], operation_timeout=20)[topic].result(20)


def _create(bench: Workbench) -> None:
    admin = AdminClient({"bootstrap.servers": bench.settings.kafka_bootstrap_servers})
    wanted = NewTopic(
        bench.settings.topic_commands,
        bench.settings.topic_partitions,
        1,
        config={"message.timestamp.type": "LogAppendTime"},
    )
    admin.create_topics([wanted], operation_timeout=20)[wanted.topic].result(20)


async def _execute(bench: Workbench, statement: str) -> None:
    connection = await bench.connect()
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _all_halted(one: Running) -> bool:
    lanes = one.assignment.lanes.values()
    return len(lanes) == 2 and all(lane.state is LaneState.HALTED for lane in lanes)


async def test_a_topic_made_anew_is_not_gone_on_with(bench: Workbench) -> None:
    """Longer than the old one was: nothing of it is answered, and the reason says to use a new name.

    Seen to fail while only a shorter log was noticed: commands from the old position on were answered.
    """
    async with running(bench):
        await publish(bench, commands(bench, 0, 40, None))
        await bench.wait_for_results(40)
    _delete(bench)
    _create(bench)
    await publish(bench, commands(bench, 40, 140, None))
    async with running(bench, opened=False) as one:
        await until(lambda: _all_halted(one), 20, "halted lanes")
        assert all("created again" in problem for problem in one.worker.not_ready())
        await asyncio.sleep(1)
    assert len(bench.results()) == 40


async def test_a_topic_made_anew_under_a_running_worker_is_not_gone_on_with(bench: Workbench) -> None:
    """Seen to fail without the watch: the worker went on reading the new topic at the old position."""
    async with running(bench) as one:
        await publish(bench, commands(bench, 0, 40, None))
        await bench.wait_for_results(40)

        def make_anew() -> None:
            _delete(bench)
            _create(bench)
            bench.publish(commands(bench, 40, 240, None))

        await asyncio.to_thread(make_anew)

        def is_told() -> bool:
            """A lane that looked while there was no topic looks again after a while."""
            return _all_halted(one) and all(
                "the topic was created again" in problem for problem in one.worker.not_ready()
            )

        await until(is_told, 60, f"halted lanes: {one.worker.not_ready()}")
        await asyncio.sleep(1)
    assert len(bench.results()) == 40


async def test_a_topic_that_vanishes_is_named(bench: Workbench) -> None:
    """The worker is not ready and says why, instead of waiting for partitions in silence."""
    async with running(bench) as one:
        await publish(bench, commands(bench, 0, 40, None))
        await bench.wait_for_results(40)
        assert one.worker.not_ready() == []
        await asyncio.to_thread(_delete, bench)
        topic = bench.settings.topic_commands
        await until(
            lambda: any(f"the topic {topic} does not exist" in one for one in one.worker.not_ready()), 20, "a reason"
        )


@pytest.mark.usefixtures("looks_often")
async def test_a_halted_lane_goes_on_by_itself_once_its_positions_fit(bench: Workbench) -> None:
    """It says when it looked last. Here the lane belongs to another cluster, until an operator sets that right."""
    async with running(bench):
        await publish(bench, commands(bench, 0, 40, None))
        await bench.wait_for_results(40)
    await publish(bench, commands(bench, 40, 60, None))
    await _execute(bench, "UPDATE lane SET topic_id = 'x' || topic_id, cluster_id = 'x' || cluster_id")
    async with running(bench, opened=False) as one:
        await until(lambda: _all_halted(one), 20, "halted lanes")
        first = one.worker.not_ready()[0]
        assert "this is the cluster" in first
        looked = one.metric("passport_lane_halt_looked_timestamp_seconds")
        assert looked is not None
        await until(
            lambda: (one.metric("passport_lane_halt_looked_timestamp_seconds") or 0) > looked, 10, "another look"
        )
        assert first not in one.worker.not_ready()
        assert len(bench.results()) == 40
        await _execute(bench, "UPDATE lane SET topic_id = substr(topic_id, 2), cluster_id = substr(cluster_id, 2)")
        await bench.wait_for_results(60)
        assert one.lanes_run()
        assert one.metric("passport_lane_halts_total") == 1


async def test_a_lane_from_before_learns_its_topic(bench: Workbench) -> None:
    """A row without ids, as an older version left it, is filled when the lane opens next."""
    async with running(bench):
        await publish(bench, commands(bench, 0, 20, None))
        await bench.wait_for_results(20)
    connection = await bench.connect()
    query = "SELECT topic, cluster_id, topic_id FROM lane ORDER BY partition"
    try:
        known = await connection.fetch(query)
        assert all(row["topic_id"] and row["cluster_id"] for row in known)
        await connection.execute("UPDATE lane SET cluster_id = NULL, topic_id = NULL")
        async with running(bench):
            await publish(bench, commands(bench, 20, 40, None))
            await bench.wait_for_results(40)
        assert await connection.fetch(query) == known
    finally:
        await connection.close()
