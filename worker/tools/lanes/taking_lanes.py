"""Takes lanes away from workers, and moves their positions: A in Postgres, E in Kafka."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidProducerIdMapping, ProducerFenced
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from worker.settings import Settings
from worker.store import sql
from worker.store.port import FencingToken, LaneName, LostLane, Registered
from worker.store.rows import token_columns
from worker.stream.cluster.connection import ANSWER_SECONDS
from worker.stream.fencing import fence
from worker.tools.common.connected import Connected
from worker.tools.common.transactional_producer import transactional_producer

# `fence` itself never gives up. Here a person waits, who has to learn which ids cannot be fenced.
FENCE_SECONDS = 60.0


class CannotWrite(Exception):
    """A verb cannot write what it planned; the text says why. Written parts stay, and another run continues."""


class Fenced(Exception):
    """Somebody has opened the lanes since the mover was listed in their rows. No offset was moved."""


async def take_over(both: Connected, partitions: Sequence[int]) -> dict[int, Registered]:
    """Stop all workers from writing for any lane, and end what they have open on these partitions (none: on all).

    Raises `CannotWrite` if Kafka does not end the transactions within `FENCE_SECONDS`.
    """
    settings = both.settings
    # Epochs come first. After them no worker commits in Postgres, and after the fences E is final.
    registered = await raise_epochs(both.database.connection, settings.group_id, settings.topic_commands)
    ids = {id for at, lane in registered.items() if not partitions or at in partitions for id in lane.producers}
    try:
        async with asyncio.timeout(FENCE_SECONDS):
            await asyncio.gather(*(fence(both.cluster, settings, id) for id in sorted(ids)))
    except TimeoutError as error:
        listed = ", ".join(sorted(ids))
        raise CannotWrite(f"Kafka did not end the transactions of {listed} within {FENCE_SECONDS:.0f} s") from error
    return registered


async def raise_epochs(connection: sql.Connection, group_id: str, topic: str) -> dict[int, Registered]:
    """Take every lane of a group on a topic. Returns them by partition, with producers that may have something open."""
    rows = await connection.fetch(sql.load("raise_epochs", __package__), group_id, topic)
    return {
        row["partition"]: Registered(
            FencingToken(LaneName(group_id, topic, row["partition"]), row["id"], row["epoch"], row["holder"]),
            frozenset(row["producers"]),
        )
        for row in rows
    }


async def list_producer(
    connection: sql.Connection, tokens: Collection[FencingToken], producer: str
) -> dict[int, FencingToken]:
    """List a producer as the only one of these lanes, so that their next owner fences it. Returns tokens by partition.

    Raises `LostLane` for lanes that were taken already.
    """
    rows = await connection.fetch(sql.load("list_only"), *token_columns(tokens), producer)
    ours = {lane_id for (lane_id,) in rows}
    if lost := [token for token in tokens if token.lane_id not in ours]:
        raise LostLane(lost)
    return {token.name.partition: replace(token, holder=producer) for token in tokens}


async def make_lanes(connection: sql.Connection, names: Sequence[LaneName]) -> None:
    """Insert lanes that the database does not have yet."""
    for name in names:
        await connection.execute(sql.load("make_lane", __package__), name.group_id, name.topic, name.partition)


async def move_applied(connection: sql.Connection, token: FencingToken, applied: int, to: int) -> None:
    """Move a lane from `applied` to `to`. Raises `LostLane` if it is no longer at `applied`."""
    arguments = token.lane_id, token.epoch, to, applied, token.holder
    if await connection.fetchval(sql.load("move_applied", __package__), *arguments) is None:
        raise LostLane([token])


class OffsetMover:
    """Moves a group's offsets from outside, as `kafka-consumer-groups --reset-offsets` does, but fenced.

    Its id is listed in the rows of lanes, and a worker that opens them fences it before it reads any position: the
    offsets move before that, or not at all. A plain commit has no fence: a process that slept could move them later.
    """

    def __init__(self, settings: Settings, id: str, producer: AIOKafkaProducer) -> None:
        self._settings, self.id, self._producer = settings, id, producer

    async def move(self, offsets: Mapping[int, int]) -> None:
        """Move the offsets of these partitions of the command topic, all or none. Raises `Fenced`, `CLUSTER_ERRORS`."""
        topic, group_id = self._settings.topic_commands, self._settings.group_id
        # Without the text that workers add to their commits: this offset must not look like one of theirs.
        moved = {TopicPartition(topic, at): OffsetAndMetadata(offset, "") for at, offset in offsets.items()}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._producer.begin_transaction()
                await self._producer.send_offsets_to_transaction(moved, group_id)
                await self._producer.commit_transaction()
        except (ProducerFenced, InvalidProducerIdMapping) as error:
            raise Fenced(f"{self.id} is fenced") from error


@asynccontextmanager
async def offset_mover(settings: Settings) -> AsyncIterator[OffsetMover]:
    """A mover under a new id. Start it before the id is listed: its InitProducerId would undo a fence.

    Raises `CLUSTER_ERRORS`.
    """
    id = f"{settings.group_id}.{settings.topic_commands}.{uuid4().hex}"
    async with transactional_producer(settings, id) as producer:
        yield OffsetMover(settings, id, producer)
