"""A consumer group on the command topic, as Kafka sees it."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.offset_fetch_v7 import Committed, UnstableOffset
from worker.stream.log_reader import LogReader
from worker.stream.positions import Log
from worker.tools.common.group_members import GroupMember, members_by_partition


@dataclass(frozen=True, slots=True)
class PartitionView:
    """A partition of the command topic: its log, the group's committed offset, and the member that has it."""

    log: Log
    committed: Committed | None
    member: GroupMember | None


async def group_view(settings: Settings, cluster: Cluster) -> dict[int, PartitionView]:
    """View every partition of the command topic. Raises `CLUSTER_ERRORS`, also where the topic does not exist."""
    group_id, topic = settings.group_id, settings.topic_commands
    identity, counts = await asyncio.gather(cluster.identity(topic), cluster.partition_counts([topic]))
    partitions = range(counts[topic])
    bounds, committed, members = await asyncio.gather(
        LogReader(cluster).bounds(topic, partitions),
        # Each turn of a running worker makes its offsets unstable for a moment. A look takes the last committed ones.
        cluster.committed(group_id, [TopicPartition(topic, partition) for partition in partitions], stable=False),
        members_by_partition(cluster, group_id, topic),
    )
    view = {}
    for partition in partitions:
        offset = committed[topic, partition]
        if isinstance(offset, KafkaError):
            raise offset
        view[partition] = PartitionView(Log(identity, *bounds[partition]), offset, members.get(partition))
    return view


async def stable_offsets(settings: Settings, cluster: Cluster, partitions: Collection[int]) -> dict[int, int | None]:
    """E of partitions, None where the group has no offset. Leaves out partitions with an open transaction.

    Raises `CLUSTER_ERRORS`.
    """
    topic = settings.topic_commands
    committed = await cluster.committed(settings.group_id, [TopicPartition(topic, number) for number in partitions])
    stable: dict[int, int | None] = {}
    for (_, partition), offset in committed.items():
        if isinstance(offset, KafkaError) and not isinstance(offset, UnstableOffset):
            raise offset
        if not isinstance(offset, KafkaError):
            stable[partition] = None if offset is None else offset.offset
    return stable
