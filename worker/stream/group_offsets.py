"""Moving a group's offsets from outside, as `kafka-consumer-groups --reset-offsets` does."""

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, IllegalGenerationError, UnknownMemberIdError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from worker.settings import Settings
from worker.stream.cluster.connection import ANSWER_SECONDS, client_options, close_within


class GroupHasMembers(Exception):
    """Only a group without members lets others move its offsets."""


async def move_offsets(settings: Settings, offsets: Mapping[int, int]) -> None:
    """Of these partitions of the command topic, all or none. Raises `GroupHasMembers` and `CLUSTER_ERRORS`."""
    consumer = AIOKafkaConsumer(**client_options(settings), group_id=settings.group_id, enable_auto_commit=False)
    places = {TopicPartition(settings.topic_commands, one): OffsetAndMetadata(at, "") for one, at in offsets.items()}
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await consumer.start()
            consumer.assign(list(places))
            await consumer.commit(places)
    except (CommitFailedError, IllegalGenerationError, UnknownMemberIdError) as error:
        raise GroupHasMembers(f"the group {settings.group_id} has members") from error
    finally:
        await close_within(consumer.stop(), 2.0)
