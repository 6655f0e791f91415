"""Up to which command results stand in the result topics: Kafka's own word on what was published."""

import asyncio
import re
from collections.abc import Collection

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.settings import Settings
from worker.stream.cluster.connection import ANSWER_SECONDS, Cluster, client_options, close_within

log = structlog.get_logger(__name__)

_TAIL_OFFSETS = 200
"""Results come in the order of their commands, so the last of each topic tell; markers occupy offsets, too."""
_POLL_MS = 500


async def newest_results(
    settings: Settings, cluster: Cluster, topic: str, partitions: Collection[int]
) -> dict[int, int | None]:
    """Offset of the newest command of each partition that has a visible result.

    None where no result of it is there, and where none can be seen: the worker needs *Read* on the result topics for
    this alone, and may do without.
    """
    newest: dict[int, int | None] = dict.fromkeys(partitions)
    if not partitions:
        return newest
    try:
        counts = await cluster.partition_counts(list(settings.result_topics))
        places = {
            TopicPartition(one, partition % counts[one]) for one in settings.result_topics for partition in partitions
        }
        return newest | await _read(settings, sorted(places), topic)
    except Exception as error:
        log.warning("results_cannot_be_read", error=f"{type(error).__name__}: {error}")
        return newest


async def _read(settings: Settings, places: list[TopicPartition], topic: str) -> dict[int, int]:
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await consumer.start()
            consumer.assign(places)
            return await _newest(consumer, places, topic)
    finally:
        await close_within(consumer.stop(), 1.0)


async def _newest(consumer: AIOKafkaConsumer, places: list[TopicPartition], topic: str) -> dict[int, int]:
    newest: dict[int, int] = {}
    starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    for place in places:
        consumer.seek(place, max(starts[place], ends[place] - _TAIL_OFFSETS))
    left = {place for place in places if starts[place] < ends[place]}
    while left:
        for records in (await consumer.getmany(*left, timeout_ms=_POLL_MS)).values():
            for partition, offset in (cause for record in records if (cause := _cause(record, topic)) is not None):
                newest[partition] = max(offset, newest.get(partition, offset))
        left = {place for place in left if await consumer.position(place) < ends[place]}
    return newest


def _cause(record: ConsumerRecord, topic: str) -> tuple[int, int] | None:
    """Partition and offset of the command of that topic which the record answers."""
    for name, value in record.headers:
        if name == "ce_causationid" and value is not None:
            place = re.fullmatch(rf"{re.escape(topic)}/([0-9]+)/([0-9]+)", value.decode("utf-8", "replace"))
            return (int(place[1]), int(place[2])) if place else None
    return None
