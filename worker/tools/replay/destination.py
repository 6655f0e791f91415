"""Where a replay publishes: to the channel's topics, topics with a suffix, or those of another channel.

Another channel is for answers of a lost channel, whose cluster or topic is gone for good.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from aiokafka.structs import TopicPartition

from worker.settings import Settings
from worker.store import sql
from worker.tools.common.inspection import Inspection, position_in
from worker.tools.common.selection import BadSelection, Offsets, Range, offsets_of
from worker.tools.common.servers import Servers

_TOPICS = ("topic_created", "topic_overage_required", "topic_conflict", "topic_rejected", "topic_dead_letters")


class Destination(NamedTuple):
    """The suffix of the topics, or the settings of another channel."""

    suffix: str = ""
    into: Settings | None = None

    @property
    def channel(self) -> str | None:
        """The name of the other channel, if there is one."""
        return None if self.into is None else self.into.channel

    @property
    def progress_at(self) -> TopicPartition | None:
        """The partition for which a lane's progress is committed: Kafka takes no offsets of topics that it lacks.

        None: the lane's own partition.
        """
        return None if self.into is None else TopicPartition(self.into.topic_created, 0)

    def topics(self, settings: Settings) -> list[str]:
        """The topics of results and of dead letters, in the order of `Settings.answer_topics`."""
        if self.into is not None:
            return [*self.into.answer_topics]
        return [f"{topic}{self.suffix}" for topic in settings.answer_topics]

    def settings(self, settings: Settings) -> Settings:
        """The settings with these topics for results and dead letters."""
        return settings.model_copy(update=dict(zip(_TOPICS, self.topics(settings), strict=True)))

    async def expect_topics(self, servers: Servers) -> None:
        """Raises `BadSelection` unless the topics exist. Those with a suffix need the channel's partition counts."""
        names, targets = servers.settings.answer_topics, self.topics(servers.settings)
        counts = await servers.cluster.partition_counts(sorted({*names, *targets}))
        for name, target in zip(names, targets, strict=True):
            wanted, actual = counts.get(name), counts.get(target)
            if self.into is not None and actual is None:
                raise BadSelection(f"expected a topic {target}: `passport-worker topics create` makes it")
            if self.into is None and (actual is None or wanted != actual):
                text = f"expected a topic {target} of {wanted} partitions, as {name} has, got {actual or 'none'}"
                raise BadSelection(text)


async def offsets_of_lost_lanes(servers: Servers, database: Inspection, chosen: Range) -> dict[int, Offsets]:
    """The part of a range that the ledger has, up to A; by default from E as Postgres has noted it.

    Answers from there on are decided, but not noted as visible. Raises `BadSelection` if the channel's topic still
    exists, since its workers may yet publish these answers.
    """
    settings, topic = servers.settings, servers.settings.topic_commands
    rows = await database.lanes(settings.group_id, topic)
    if not rows:
        raise BadSelection(f"the database has no lane of {topic}: expected --channel with the lost channel")
    here = (await servers.cluster.identities([topic]))[topic]
    if any(position_in(row).topic == here for row in rows.values()):
        raise BadSelection(f"{topic} is still on this cluster: expected no --into, which is for a lost channel")
    known = {at: position_in(row) for at, row in rows.items()}
    begins = {at: known[at].emitted if chosen.start is None else known[at].ledger_from for at in known}
    bounds = {at: (begins[at], known[at].applied) for at in known}

    async def first_since(partitions: Sequence[int], since: datetime) -> Mapping[int, int]:
        firsts, query = dict[int, int](), sql.load("first_since", __package__)
        for at in partitions:
            first = await database.connection.fetchval(query, rows[at].id, *bounds[at], since, timeout=600)
            firsts[at] = bounds[at][1] if first is None else first
        return firsts

    return await offsets_of(chosen, bounds, first_since)
