"""What `submit` hands over waits for as long as it takes: only its own patience ends it."""

import pytest
from aiokafka.structs import TopicPartition

from worker.settings import Settings
from worker.tools.submit.command_batches import CommandBatches


@pytest.mark.parametrize("minutes", [1, 60])
async def test_a_partition_without_a_leader_is_waited_for(minutes: int) -> None:
    """aiokafka's own accumulator, which knows of no leader: it gave batches up after half a minute."""
    batches = CommandBatches(Settings())
    accumulator = batches._producer._message_accumulator
    try:
        waiting = accumulator._append_batch(batches._producer.create_batch(), TopicPartition("commands", 0))
        waiting._ctime -= 60 * minutes
        _, unknown_leaders_exist = accumulator.drain_by_nodes(ignore_nodes=set())
        assert unknown_leaders_exist
        assert not waiting.future.done()
        waiting.future.cancel()
    finally:
        await batches.close()
