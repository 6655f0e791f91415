"""The objects that all sessions and lanes of a worker share, and their view of its consumer."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from aiokafka.structs import TopicPartition

from worker.batch.recovery import Processor
from worker.observability.hooks import Hooks
from worker.settings import Settings
from worker.store.port import Store
from worker.stream.cluster.connection import Cluster
from worker.stream.command_reader import CommandReader


class Consumer(Protocol):
    """The consumer of the command topics, as sessions and lanes use it."""

    def by_leader(self, partitions: Collection[TopicPartition]) -> list[list[TopicPartition]]:
        """Group partitions by leader, by the known metadata. Leaves out those without a leader."""

    async def log_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """The first offset of each log, and the one after its last readable record. Leaves out logs without a leader.

        Waits for the slowest leader, so use a task for each group of `by_leader`.
        """

    def all_partitions(self) -> Collection[TopicPartition]:
        """All partitions of the command topics, also those of other workers."""

    def begin_at(self, partition: TopicPartition, offset: int) -> None:
        """Seek to `offset` and let fetches begin."""

    def fetch_for_next_turn(self) -> None:
        """Fetch again, unless the last fetch is too recent, since a turn is nearly over."""


@dataclass(frozen=True, slots=True)
class LaneDependencies:
    """Shared by all sessions of a worker."""

    settings: Settings
    store: Store
    processor: Processor
    command_reader: CommandReader
    cluster: Cluster
    hooks: Hooks
    # Transactional ids of this worker's sessions that will send nothing more.
    ended_producers: set[str] = field(default_factory=set)
