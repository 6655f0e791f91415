"""`passport-worker lanes reset` beside an open transaction of somebody, which hides the results behind it."""

import asyncio

import pytest
from confluent_kafka import Producer

from tests.contract.world import NOW_MS
from tests.end_to_end.test_replay_and_members import commit_offset
from tests.workbench import Workbench, tenant
from worker.messages.events import Answer, event_of
from worker.messages.rules import Kind
from worker.tools.common.journal import Author
from worker.tools.common.progress import Progress
from worker.tools.common.servers import Servers
from worker.tools.lanes import reset as module
from worker.tools.lanes.report import ResetReport
from worker.tools.lanes.reset import reset

pytestmark = pytest.mark.real_kafka

APPLIED, NOTED, HIDDEN, AHEAD = 10, 5, 8, 12
"""A, the lower bound of E in Postgres, the newest command with a result, and E as somebody has set it."""


async def _lane_with_an_offset_set_ahead(bench: Workbench) -> None:
    bench.publish({**bench.command(tenant(0), 0, f"u{n}"), "partition": 0} for n in range(AHEAD))
    connection = await bench.connect()
    await connection.execute(
        "INSERT INTO lane (group_id, topic, partition, applied, emitted, ledger_from) VALUES ($1, $2, 0, $3, $4, 0)",
        bench.settings.group_id,
        bench.settings.topic_commands,
        APPLIED,
        NOTED,
    )
    await connection.close()
    commit_offset(bench, 0, AHEAD)


def _publish_a_hidden_result(bench: Workbench) -> Producer:
    """Whose transaction is open."""
    servers = {"bootstrap.servers": bench.settings.kafka_bootstrap_servers}
    producer = Producer({**servers, "transactional.id": f"{bench.dead_letters}-hides"})
    producer.init_transactions(20)
    producer.begin_transaction()
    key, value, headers = event_of(
        Answer(HIDDEN, NOW_MS, Kind.REJECTED, "key", b"{}"), bench.settings.topic_commands, 0
    )
    producer.produce(bench.settings.topic_rejected, value, key, 0, headers=[*headers])
    assert producer.flush(20) == 0
    return producer


async def test_a_reset_waits_for_results_that_an_open_transaction_hides(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set back in front of them, E would have them come twice. While the transaction stays open, nothing moves."""
    await _lane_with_an_offset_set_ahead(bench)
    producer = _publish_a_hidden_result(bench)
    servers = Servers(bench.settings)

    async def move() -> ResetReport:
        return await reset(servers, (0,), Progress(), allow=frozenset(), author=Author("test", "somebody mistyped"))

    try:
        with monkeypatch.context() as briefly:
            briefly.setattr(module, "LOOKS", 1)
            refused = await move()
        hides = (f"{bench.settings.topic_rejected}/0", "open-transaction")
        assert [(one.place, one.code) for one in refused.problems] == [hides]
        assert not refused.executed
        waiting = asyncio.create_task(move())
        await asyncio.sleep(0.5)
        producer.commit_transaction(20)
        moved = await waiting
    finally:
        await servers.cluster.close()
    assert moved.executed
    assert [(lane.emitted, lane.emitted_after) for lane in moved.lanes] == [(AHEAD, HIDDEN + 1)]
