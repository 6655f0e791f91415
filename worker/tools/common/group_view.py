"""A consumer group on the command topic, as Kafka sees it: offsets, logs, and members."""

import asyncio
from dataclasses import dataclass

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.structs import TopicPartition

from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.offset_fetch_v7 import Committed
from worker.stream.log_reader import LogReader
from worker.stream.positions import Log


@dataclass(frozen=True, slots=True)
class GroupMember:
    """The id of a member, and the address that it connects from."""

    id: str
    host: str


@dataclass(frozen=True, slots=True)
class PartitionView:
    """A partition of the command topic: its log, the group's committed offset, and the member that has it."""

    log: Log
    committed: Committed | None
    member: GroupMember | None


async def group_view(settings: Settings, cluster: Cluster) -> dict[int, PartitionView]:
    """View every partition of the command topic. Raises `CLUSTER_ERRORS`, also if the topic does not exist."""
    group_id, topic = settings.group_id, settings.topic_commands
    identity, counts = await asyncio.gather(cluster.identity(topic), cluster.partition_counts([topic]))
    partitions = range(counts[topic])
    bounds, committed, members = await asyncio.gather(
        LogReader(cluster).bounds(topic, partitions),
        # Each turn of a running worker makes its offsets unstable for a moment. A view may use the last committed ones.
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


async def members_by_partition(cluster: Cluster, group_id: str, topic: str) -> dict[int, GroupMember]:
    """The member that has each partition of a topic. Empty during a rebalance. Raises `CLUSTER_ERRORS`."""
    members = dict[int, GroupMember]()
    for member, assignment in await _members(cluster, group_id):
        if not assignment:  # during a rebalance
            continue
        for name, partitions in ConsumerProtocolMemberAssignment.decode(assignment).assignment:
            if name == topic:
                members |= dict.fromkeys(partitions, member)
    return members


async def has_members(cluster: Cluster, group_id: str) -> bool:
    """Whether the group has any member. Raises `CLUSTER_ERRORS`."""
    return bool(await _members(cluster, group_id))


async def members(cluster: Cluster, group_id: str) -> list[GroupMember]:
    """The members of the group. Raises `CLUSTER_ERRORS`."""
    return [member for member, _ in await _members(cluster, group_id)]


async def _members(cluster: Cluster, group_id: str) -> list[tuple[GroupMember, bytes]]:
    """The members of a group, and their assignments as Kafka holds them."""
    response = await cluster.ask_group_coordinator(group_id, DescribeGroupsRequest([group_id]))
    members = list[tuple[GroupMember, bytes]]()
    for code, _, _, _, _, listed, *_ in response.groups:
        if code:
            raise for_code(code)(f"members of the group {group_id}: error {code}")
        for member_id, _, host, _, assignment, *_ in listed:
            # Kafka puts a slash in front of the host.
            members.append((GroupMember(member_id, host.lstrip("/")), assignment))
    return members
