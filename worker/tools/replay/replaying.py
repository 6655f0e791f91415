"""Results of the ledger once more, by a producer of their own: it fences no lane, and whoever ran it before."""

from collections.abc import Sequence
from typing import NamedTuple

from aiokafka.errors import KafkaError

from worker.messages.events import Answer
from worker.observability.hooks import Hooks
from worker.settings import Settings
from worker.store.port import LaneName
from worker.stream.cluster.connection import Cluster
from worker.stream.producer import Emitter


class _Repeat(NamedTuple):
    """Answers of one lane that are sent again, for the commands below `stop`."""

    lane: LaneName
    answers: Sequence[Answer]
    stop: int


class Replayer:
    """One partition's replay. How far it is, is kept in a group of its own, in the transactions of the results.

    Every method raises `CLUSTER_ERRORS` or `EmissionFailed`.
    """

    def __init__(self, settings: Settings, replay_id: str, partition: int, topic_suffix: str) -> None:
        self._settings, self._partition = settings, partition
        self.group = replay_group(settings, replay_id)
        transactional_id = f"{settings.group_id}.{settings.topic_commands}.replay.{replay_id}.{partition}"
        self._emitter = Emitter(
            with_suffix(settings, topic_suffix), transactional_id, Hooks(), offsets_group=self.group
        )

    async def start(self, cluster: Cluster) -> int | None:
        """From now on nobody else runs it; the next offset that it has to repeat, None where Kafka knows none."""
        await self._emitter.start()
        topic = self._settings.topic_commands
        found = (await cluster.committed(self.group, topic, [self._partition]))[self._partition]
        if isinstance(found, KafkaError):
            raise found
        return None if found is None else found.offset

    async def send(self, answers: Sequence[Answer], stop: int) -> None:
        """These once more, and that all is done below `stop`: visible together or never."""
        lane = LaneName(self.group, self._settings.topic_commands, self._partition)
        await self._emitter.emit([_Repeat(lane, answers, stop)])

    async def close(self) -> None:
        """Safe to call at any time."""
        await self._emitter.close()


def replay_group(settings: Settings, replay_id: str) -> str:
    """The group that keeps how far a replay is."""
    return f"{settings.group_id}.replay.{replay_id}"


def with_suffix(settings: Settings, suffix: str) -> Settings:
    """The same settings, with results and dead letters going to topics of other names."""
    names = ("topic_created", "topic_overage_required", "topic_conflict", "topic_rejected")
    changed = {name: f"{getattr(settings, name)}{suffix}" for name in names}
    return settings.model_copy(update=changed | {"topic_dead_letters": f"{settings.dead_letter_topic}{suffix}"})
