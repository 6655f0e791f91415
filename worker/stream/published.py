"""Up to which command results stand in the result topics: Kafka's own word on what was published."""

import asyncio

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.settings import Settings
from worker.stream.connection import ANSWER_SECONDS, Cluster, client_options, let_go

log = structlog.get_logger(__name__)

_TAIL_OFFSETS = 200
"""Results come in the order of their commands, so the last of each topic tell; markers occupy offsets, too."""
_POLL_MS = 500


async def newest_result(settings: Settings, cluster: Cluster, topic: str, partition: int) -> int | None:
    """Offset of the newest command of a partition that has a visible result.

    None where no result of it is there, and where none can be seen: the worker needs *Read* on the result topics for
    this alone, and may do without.
    """
    try:
        counts = await cluster.partition_counts(list(settings.result_topics))
        places = [TopicPartition(one, partition % counts[one]) for one in settings.result_topics]
        return await _read(settings, places, f"{topic}/{partition}/")
    except Exception as error:
        log.warning("results_cannot_be_read", error=f"{type(error).__name__}: {error}")
        return None


async def _read(settings: Settings, places: list[TopicPartition], prefix: str) -> int | None:
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
            return await _newest(consumer, places, prefix)
    finally:
        await let_go(consumer.stop(), 1.0)


async def _newest(consumer: AIOKafkaConsumer, places: list[TopicPartition], prefix: str) -> int | None:
    newest: int | None = None
    starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    for place in places:
        consumer.seek(place, max(starts[place], ends[place] - _TAIL_OFFSETS))
    left = {place for place in places if starts[place] < ends[place]}
    while left:
        for records in (await consumer.getmany(*left, timeout_ms=_POLL_MS)).values():
            for record in records:
                cause = _cause(record, prefix)
                if cause is not None and (newest is None or cause > newest):
                    newest = cause
        left = {place for place in left if await consumer.position(place) < ends[place]}
    return newest


def _cause(record: ConsumerRecord, prefix: str) -> int | None:
    """Offset of the command that the record answers, if its place begins so."""
    for name, value in record.headers:
        if name == "ce_causationid" and value is not None:
            place = value.decode("utf-8", "replace")
            return int(place.removeprefix(prefix)) if place.startswith(prefix) else None
    return None
