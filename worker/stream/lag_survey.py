"""Asks the brokers now and then for the lag of lanes that read nothing."""

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from worker.stream.cluster.connection import close_within
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.lane import Lane, LaneState
from worker.stream.log_reader import LogReader

SURVEY_SECONDS = 5.0
LOOK_SECONDS = 20.0


async def survey(lanes: Mapping[TopicPartition, Lane], consumer: Consumer, shared: LaneDependencies) -> None:
    """Survey idle lanes until cancelled. `lanes` is the assignment's own mapping, and changes."""
    looks: dict[Lane, asyncio.Task[None]] = {}
    try:
        while True:
            await asyncio.sleep(SURVEY_SECONDS)
            looks = {lane: look for lane, look in looks.items() if not look.done()}
            idle = {lane.partition: lane for lane in lanes.values() if not lane.wants_records and lane not in looks}
            # One task per leader, and no task waits for another, so that a silent leader delays only its own lanes.
            for led in consumer.by_leader(idle):
                led_lanes = [idle[partition] for partition in led]
                looks |= dict.fromkeys(led_lanes, asyncio.create_task(_survey(led_lanes, consumer, shared)))
    finally:
        for look in looks.values():
            look.cancel()


async def _survey(lanes: Sequence[Lane], consumer: Consumer, shared: LaneDependencies) -> None:
    for lane in lanes:
        # `close_within` bounds the time and drops errors. `watch-servers` reports that Kafka is away, and meanwhile the
        # age grows from the last survey.
        await close_within(_look(lane, consumer, shared), LOOK_SECONDS)


async def _look(lane: Lane, consumer: Consumer, shared: LaneDependencies) -> None:
    topic, partition = lane.name.topic, lane.name.partition
    first, end = (await consumer.log_ends([lane.partition]))[lane.partition]
    lane.lag.log_end = end
    state = lane.state
    if lane.is_at_work:
        return
    # The committed offset may be the very thing that is wrong with a halted lane.
    stands_at = lane.lag.stands_at if state is LaneState.HALTED else None
    if stands_at is None:
        committed = (await shared.cluster.committed(lane.name.group_id, [lane.partition]))[lane.partition]
        if isinstance(committed, KafkaError):
            raise committed
        if committed is not None:
            stands_at = committed.offset
        else:  # Kafka has forgotten the offset, and A is close to it; or the lane never ran
            applied = await shared.store.applied(lane.name.group_id, [topic])
            stands_at = applied.get((topic, partition)) or first
    stands_at = max(first, stands_at)
    if lane.lag.is_known(stands_at):
        return
    reader = LogReader(shared.cluster)
    oldest_ms = await reader.appended_ms(topic, partition, stands_at) if stands_at < end else None
    if lane.state is state:  # else it was opened or halted meanwhile, and these answers are outdated
        lane.lag.survey(stands_at, end, oldest_ms)
