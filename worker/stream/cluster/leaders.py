"""Partitions: their names, their topics, and their leaders by a client's metadata."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import TypeVar

from aiokafka.client import AIOKafkaClient
from aiokafka.structs import TopicPartition

Value = TypeVar("Value")


def name_of(partition: TopicPartition) -> str:
    """Format a partition for people, as `topic/partition`."""
    return f"{partition.topic}/{partition.partition}"


def by_topic(values: Mapping[TopicPartition, Value]) -> dict[str, dict[int, Value]]:
    """Group values of partitions by topic, then by number."""
    topics: dict[str, dict[int, Value]] = {}
    for (topic, partition), value in values.items():
        topics.setdefault(topic, {})[partition] = value
    return topics


def has_leader(client: AIOKafkaClient, topic_partition: TopicPartition) -> bool:
    """Whether a broker leads the partition: without one, nobody can read or write it."""
    return client.cluster.leader_for_partition(topic_partition) not in (None, -1)


def partitions_by_leader(
    client: AIOKafkaClient, partitions: Collection[TopicPartition]
) -> tuple[dict[int, list[TopicPartition]], list[TopicPartition]]:
    """The partitions that each broker leads, and those without a leader."""
    led, without = defaultdict[int, list[TopicPartition]](list), list[TopicPartition]()
    for partition in partitions:
        if has_leader(client, partition):
            led[client.cluster.leader_for_partition(partition)].append(partition)
        else:
            without.append(partition)
    return led, without
