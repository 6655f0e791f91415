"""Publishing commands again, once each: a transaction a command, under an id that fences who did so before."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.settings import Settings
from worker.store import failpoints
from worker.stream.cluster.connection import Cluster, client_options, close_within
from worker.stream.cluster.permissions import Acl
from worker.stream.log_reader import LogReader
from worker.stream.producer import EMIT_SECONDS, START_SECONDS, send_once
from worker.tools.dead_letters.redriven import repeats

SETTLE_SECONDS = 60.0
"""How long others may have transactions open on a partition that has to be searched."""
_PAUSE_SECONDS = 0.2


class Unpublished(Exception):
    """It is not known whether a command was published, or it was not; the text says why."""


def id_prefix(settings: Settings) -> str:
    """What transactional ids begin with that publish commands again; the number of the partition follows."""
    return f"{settings.group_id}.{settings.topic_commands}.redrive."


def redriving_acls(settings: Settings) -> tuple[Acl, ...]:
    """What publishing commands again needs."""
    topic = settings.topic_commands
    return (
        Acl("Read", "topic", topic),
        Acl("Write", "topic", topic),
        Acl("Write", "transactionalId", id_prefix(settings), prefixed=True),
    )


class Redriver:
    """The one producer of a partition's commands that are published again.

    Once it has started, nothing of whoever had it before can become visible any more.
    """

    def __init__(self, settings: Settings, cluster: Cluster, partition: int) -> None:
        self._topic, self._partition = settings.topic_commands, partition
        self._committed, self._uncommitted = LogReader(cluster), LogReader(cluster, committed=False)
        self._producer = AIOKafkaProducer(
            **client_options(settings),
            transactional_id=f"{id_prefix(settings)}{partition}",
            transaction_timeout_ms=int(settings.kafka_transaction_timeout_seconds * 1000),
            max_request_size=4 * 1024 * 1024,
        )
        send_once(self._producer.client)

    async def start(self) -> None:
        """InitProducerId, which ends what was open under this id. Raises `CLUSTER_ERRORS`."""
        async with asyncio.timeout(START_SECONDS):
            await self._producer.start()
        failpoints.reach("redrive started")

    async def close(self) -> None:
        """Let go of the connections; never aborts: the next one who starts does (guard B4)."""
        await close_within(self._producer.stop(), 1.5)
        await close_within(self._producer.client.close(), 0.5)

    async def log_end(self) -> int:
        """What is published from now on has this offset or a later one. Raises `CLUSTER_ERRORS`."""
        return (await self._uncommitted.bounds(self._topic, [self._partition]))[self._partition].end

    async def publish(self, record: Record) -> int:
        """The offset of the command that was published. Raises `Unpublished` on any doubt: then it has to be sought."""
        try:
            async with asyncio.timeout(EMIT_SECONDS):
                return await self._transaction(record)
        except Exception as error:
            raise Unpublished(f"{type(error).__name__}: {error}") from error

    async def _transaction(self, record: Record) -> int:
        """The acknowledgement is awaited first: a commit succeeds even where a send failed (guard B3)."""
        producer = self._producer
        await producer.begin_transaction()
        sent = await producer.send(
            self._topic, record.value, key=record.key, partition=self._partition, headers=list(record.headers)
        )
        await asyncio.sleep(0)
        failpoints.reach("redrive sent")
        offset: int = (await sent).offset
        failpoints.reach("redrive acknowledged")
        commit = asyncio.ensure_future(producer.commit_transaction())
        await asyncio.sleep(0)
        failpoints.reach("redrive EndTxn sent")
        await commit
        failpoints.reach("redrive committed")
        return offset

    async def find(self, offset: int, log_end: int) -> int | None:
        """Where the command at `offset` was published again, from `log_end` on; None if it was not, and never will be.

        A transaction that somebody else has open hides what stands behind it, so its end is waited for. Raises
        `Unpublished` where it does not come, and `CLUSTER_ERRORS`.
        """
        end = await self.log_end()
        await self._until_readable(end)
        topic, partition = self._topic, self._partition
        start = max(log_end, (await self._committed.bounds(topic, [partition]))[partition].first)
        found = None
        async for records in self._committed.read(topic, partition, start, end):
            for one in records:
                if found is None and repeats(one, Place(topic, partition, offset)):
                    found = one.offset
        return found

    async def _until_readable(self, end: int) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            bounds = await self._committed.bounds(self._topic, [self._partition])
            if bounds[self._partition].end >= end:
                return
            if time.monotonic() > deadline:
                where = f"{self._topic}/{self._partition}"
                raise Unpublished(f"for {SETTLE_SECONDS:.0f} s a producer has had a transaction open on {where}")
            await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def redriver(settings: Settings, cluster: Cluster, partition: int) -> AsyncIterator[Redriver]:
    """One that has started, for as long as the context lasts. Raises `CLUSTER_ERRORS`."""
    one = Redriver(settings, cluster, partition)
    try:
        await one.start()
        yield one
    finally:
        await one.close()
