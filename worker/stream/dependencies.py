"""What all sessions and lanes of a worker share, and what they ask of its consumer."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from worker.batch.recovery import Processor
from worker.observability.hooks import Hooks
from worker.settings import Settings
from worker.store.port import Store
from worker.stream.cluster.connection import Cluster
from worker.stream.command_reader import CommandReader


class Consumer(Protocol):
    """What is asked of the consumer of the lanes' partitions."""

    def by_leader(self, topic: str, partitions: Collection[int]) -> list[list[int]]:
        """The partitions that each broker leads, as far as is known; those without a leader are left out."""
        ...

    async def log_ends(self, topic: str, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        """First offset of each log and the offset behind its last readable record; not of those without a leader.

        Waits for the slowest leader: ask in a task of its own for those of `by_leader` that go together.
        """
        ...

    def all_partitions(self, topic: str) -> Collection[int]:
        """Those that the topic has, whoever has them."""
        ...

    def begin_at(self, topic: str, partition: int, offset: int) -> None:
        """Seek to `offset` and let fetches begin."""
        ...


@dataclass(frozen=True, slots=True)
class LaneDependencies:
    """What all sessions of a worker share."""

    settings: Settings
    store: Store
    processor: Processor
    command_reader: CommandReader
    cluster: Cluster
    hooks: Hooks
    ended_producers: set[str] = field(default_factory=set)
    """Transactional ids of this worker's sessions that send nothing more."""
