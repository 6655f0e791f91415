"""Open transactions, which keep readers of committed records waiting."""

from collections.abc import Sequence
from typing import NamedTuple

from aiokafka.errors import UnknownTopicOrPartitionError

from worker.stream.cluster.connection import Cluster
from worker.stream.log_reader import LOOK_BYTES, LogReader


class OpenTransaction(NamedTuple):
    """The oldest open transaction of a partition: the offset of its first record, and its append time (ms)."""

    topic: str
    partition: int
    offset: int
    appended_ms: int


async def open_transactions(cluster: Cluster, topics: Sequence[str]) -> list[OpenTransaction]:
    """Find the oldest open transaction of each partition of some topics. Raises `CLUSTER_ERRORS`."""
    transactions = list[OpenTransaction]()
    counts = await cluster.partition_counts([*topics])
    committed, uncommitted = LogReader(cluster), LogReader(cluster, committed=False)
    for topic in topics:
        if topic not in counts:
            raise UnknownTopicOrPartitionError(topic)
        partitions = range(counts[topic])
        stable = await committed.bounds(topic, partitions)
        for partition, bounds in (await uncommitted.bounds(topic, partitions)).items():
            start = stable[partition].end
            async for records in uncommitted.read(topic, partition, start, bounds.end, fetch_bytes=LOOK_BYTES):
                first = records[0]
                transactions.append(OpenTransaction(topic, partition, first.offset, first.timestamp_ms))
                break
    return transactions
