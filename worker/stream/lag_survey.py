"""The lag of lanes that read nothing, which a worker asks the brokers for now and then."""

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
    while True:
        await asyncio.sleep(SURVEY_SECONDS)
        idle = {lane.partition: lane for lane in lanes.values() if not lane.wants_records}
        leaders = consumer.by_leader(idle)
        # Side by side, so that a silent leader holds up its own lanes only.
        await asyncio.gather(*(_survey([idle[partition] for partition in led], consumer, shared) for led in leaders))


async def _survey(lanes: Sequence[Lane], consumer: Consumer, shared: LaneDependencies) -> None:
    for lane in lanes:
        # `close_within` bounds the time and drops errors: while Kafka is away, which `watch-servers` reports, the age
        # goes on from the last survey.
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
        stands_at = first if committed is None else committed.offset
    stands_at = max(first, stands_at)
    if lane.lag.is_known(stands_at):
        return
    reader = LogReader(shared.cluster)
    oldest_ms = await reader.appended_ms(topic, partition, stands_at) if stands_at < end else None
    if lane.state is state:  # it may have been opened or halted meanwhile: then the next look tells where it stands
        lane.lag.survey(stands_at, end, oldest_ms)
