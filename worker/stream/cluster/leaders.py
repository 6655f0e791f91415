"""The leaders of partitions, by the metadata that a client has."""

from collections import defaultdict
from collections.abc import Collection

from aiokafka.client import AIOKafkaClient
from aiokafka.structs import TopicPartition


def has_leader(client: AIOKafkaClient, topic_partition: TopicPartition) -> bool:
    """Whether a broker leads the partition: without one, nobody can read or write it."""
    return client.cluster.leader_for_partition(topic_partition) not in (None, -1)


def partitions_by_leader(
    client: AIOKafkaClient, topic: str, partitions: Collection[int]
) -> tuple[dict[int, list[int]], list[int]]:
    """The partitions that each broker leads, and those without a leader."""
    led, without = defaultdict[int, list[int]](list), list[int]()
    for partition in partitions:
        topic_partition = TopicPartition(topic, partition)
        if has_leader(client, topic_partition):
            led[client.cluster.leader_for_partition(topic_partition)].append(partition)
        else:
            without.append(partition)
    return led, without
