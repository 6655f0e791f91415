"""A consumer group on the command topic as Kafka sees it, for operators."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.offset_fetch_v7 import Committed, UnstableOffset
from worker.stream.log_reader import LogReader
from worker.stream.positions import Log
from worker.tools.common.group_members import GroupMember, members_by_partition


@dataclass(frozen=True, slots=True)
class PartitionView:
    """A partition of the command topic: its log, the group's committed offset, and whom the group gave it."""

    log: Log
    committed: Committed | None
    member: GroupMember | None


async def group_view(settings: Settings, cluster: Cluster) -> dict[int, PartitionView]:
    """Of every partition of the command topic. Raises `CLUSTER_ERRORS`, also where there is no such topic."""
    group_id, topic = settings.group_id, settings.topic_commands
    identity, counts = await asyncio.gather(cluster.identity(topic), cluster.partition_counts([topic]))
    partitions = range(counts[topic])
    bounds, committed, members = await asyncio.gather(
        LogReader(cluster).bounds(topic, partitions),
        cluster.committed(group_id, topic, partitions, stable=False),
        members_by_partition(cluster, group_id, topic),
    )
    view = {}
    for one in partitions:
        offset = committed[one]
        if isinstance(offset, KafkaError):
            raise offset
        view[one] = PartitionView(Log(identity, *bounds[one]), offset, members.get(one))
    return view


async def stable_offsets(settings: Settings, cluster: Cluster, partitions: Collection[int]) -> dict[int, int | None]:
    """E of partitions, None where the group has none; those are left out on which a transaction is open.

    Raises `CLUSTER_ERRORS`.
    """
    committed = await cluster.committed(settings.group_id, settings.topic_commands, partitions)
    stable: dict[int, int | None] = {}
    for at, one in committed.items():
        if isinstance(one, KafkaError) and not isinstance(one, UnstableOffset):
            raise one
        if not isinstance(one, KafkaError):
            stable[at] = None if one is None else one.offset
    return stable
