"""Transactions that keep readers of committed records waiting, as their logs show them."""

from collections.abc import Sequence
from typing import NamedTuple

from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.log_reader import log_reader


class OpenTransaction(NamedTuple):
    """The oldest one of a partition: where its first record stands, and when that was appended (ms)."""

    topic: str
    partition: int
    offset: int
    appended_ms: int


async def open_transactions(settings: Settings, cluster: Cluster, topics: Sequence[str]) -> list[OpenTransaction]:
    """Of every partition whose committed records end before its log does. Raises `CLUSTER_ERRORS`."""
    found = list[OpenTransaction]()
    counts = await cluster.partition_counts([*topics])
    async with log_reader(settings) as committed, log_reader(settings, "read_uncommitted") as everything:
        ends: dict[tuple[str, int], tuple[int, int]] = {}
        for topic in topics:
            stable = await committed.bounds(topic, range(counts[topic]))
            last = await everything.bounds(topic, range(counts[topic]))
            ends |= {(topic, at): (stable[at].end, last[at].end) for at in stable if stable[at].end < last[at].end}
        everything.assign({place: start for place, (start, _) in ends.items()})
        for place, (start, end) in ends.items():
            async for records in everything.read(*place, start, end):
                found += [OpenTransaction(*place, one.offset, one.timestamp_ms) for one in records[:1]]
                break
    return found
