"""Lanes that read nothing: how far behind they are is asked of the broker, now and then."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from worker.stream.cluster.connection import close_within
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.lane import Lane, LaneState
from worker.stream.probe import Probe

SURVEY_SECONDS = 5.0
LOOK_SECONDS = 20.0


async def survey(lanes: Mapping[TopicPartition, Lane], consumer: Consumer, shared: LaneDependencies) -> None:
    """For ever; `lanes` is the assignment's own, and changes."""
    while True:
        await asyncio.sleep(SURVEY_SECONDS)
        topic = shared.settings.topic_commands
        idle = {place.partition: lane for place, lane in lanes.items() if not lane.wants_records}
        surveys = [
            _survey({TopicPartition(topic, one): idle[one] for one in led}, consumer, shared)
            for led in consumer.by_leader(topic, idle)
        ]
        await asyncio.gather(*surveys)


async def _survey(lanes: Mapping[TopicPartition, Lane], consumer: Consumer, shared: LaneDependencies) -> None:
    """Lanes of one leader, one after the other: those of others do not wait for it."""
    for place, lane in lanes.items():
        await close_within(_try_to_look(place, lane, consumer, shared), LOOK_SECONDS)


async def _try_to_look(place: TopicPartition, lane: Lane, consumer: Consumer, shared: LaneDependencies) -> None:
    with suppress(Exception):  # Kafka is away, which is said elsewhere; the age goes on from what is known
        await _look(place, lane, consumer, shared)


async def _look(place: TopicPartition, lane: Lane, consumer: Consumer, shared: LaneDependencies) -> None:
    first, end = (await consumer.log_ends(place.topic, [place.partition]))[place.partition]
    lane.lag.log_end = end
    if lane.is_at_work:
        return
    stands_at = max(first, await _first_unanswered(lane, shared, first))
    if lane.lag.is_known(stands_at):
        return
    probe = Probe(shared.cluster)
    oldest_ms = await probe.appended_ms(place.topic, place.partition, stands_at) if stands_at < end else None
    if not lane.is_at_work:
        lane.lag.survey(stands_at, end, oldest_ms)


async def _first_unanswered(lane: Lane, shared: LaneDependencies, first: int) -> int:
    """A halted lane knows better than the broker, whose offset may be the very thing that is wrong."""
    if lane.state is LaneState.HALTED and lane.lag.stands_at is not None:
        return lane.lag.stands_at
    name = lane.name
    committed = (await shared.cluster.committed(name.group_id, name.topic, [name.partition]))[name.partition]
    if isinstance(committed, KafkaError):
        raise committed
    return first if committed is None else committed.offset
