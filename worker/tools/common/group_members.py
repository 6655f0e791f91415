"""The members of a consumer group, and their partitions."""

from dataclasses import dataclass

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import for_code
from aiokafka.protocol.admin import DescribeGroupsRequest

from worker.stream.cluster.connection import Cluster


@dataclass(frozen=True, slots=True)
class GroupMember:
    """The id of a member, and the address that it connects from."""

    id: str
    host: str


async def members_by_partition(cluster: Cluster, group_id: str, topic: str) -> dict[int, GroupMember]:
    """The member that has each partition of a topic. Empty during a rebalance. Raises `CLUSTER_ERRORS`."""
    return {
        partition: member for member, partitions in await _members(cluster, group_id, topic) for partition in partitions
    }


async def has_members(cluster: Cluster, group_id: str) -> bool:
    """Whether the group has any member. Raises `CLUSTER_ERRORS`."""
    return bool(await _members(cluster, group_id, ""))


async def _members(cluster: Cluster, group_id: str, topic: str) -> list[tuple[GroupMember, list[int]]]:
    response = await cluster.ask_group_coordinator(group_id, DescribeGroupsRequest([group_id]))
    members: list[tuple[GroupMember, list[int]]] = []
    for code, _, _, _, _, listed, *_ in response.groups:
        if code:
            raise for_code(code)(f"members of the group {group_id}: error {code}")
        for member_id, _, host, _, assignment, *_ in listed:
            # Kafka puts a slash in front of the host.
            members.append((GroupMember(member_id, host.lstrip("/")), _partitions(assignment, topic)))
    return members


def _partitions(assignment: bytes, topic: str) -> list[int]:
    if not assignment:  # during a rebalance
        return []
    assigned = ConsumerProtocolMemberAssignment.decode(assignment).assignment
    return [partition for name, partitions in assigned if name == topic for partition in partitions]
