"""Publishes commands again, once each: one transaction per command, under an id that fences earlier redrives."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.settings import Settings
from worker.store import failpoints
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.permissions import Acl
from worker.stream.log_reader import LogReader
from worker.stream.producer import EMIT_SECONDS
from worker.tools.common.transactional_producer import transactional_producer

# The last header of a command that is published again: the place of the original. Workers ignore it.
REDRIVEN_FROM = "redriven-from"
# How long a search waits for transactions that others have open on the partition.
SETTLE_SECONDS = 60.0
_PAUSE_SECONDS = 0.2
# aiokafka's default is 1 MiB, and a command topic may take more.
_MOST_REQUEST_BYTES = 4 * 1024 * 1024
# The failpoint between EndTxn and its answer.
_END_SENT = "redrive EndTxn sent"


class Unpublished(Exception):
    """A command was not published, or may or may not have been; the text says why."""


def redriven(original: Record) -> Record:
    """The record to publish for an original: the same key, value and headers, and `redriven-from` at the end."""
    return original._replace(headers=[*original.headers, (REDRIVEN_FROM, str(original.place).encode())])


def _id_prefix(settings: Settings) -> str:
    """Transactional ids of redrives begin with this; the number of the partition follows."""
    return f"{settings.group_id}.{settings.topic_commands}.redrive."


def redriving_acls(settings: Settings) -> tuple[Acl, ...]:
    """The ACLs that publishing commands again needs."""
    topic = settings.topic_commands
    return (
        Acl("Read", "topic", topic),
        Acl("Write", "topic", topic),
        Acl("Write", "transactionalId", _id_prefix(settings), prefixed=True),
    )


class Redriver:
    """Publishes one partition's commands again, and finds those that an interrupted redrive published."""

    def __init__(self, topic: str, partition: int, producer: AIOKafkaProducer, cluster: Cluster) -> None:
        self._topic, self._partition, self._producer = topic, partition, producer
        self._committed, self._uncommitted = LogReader(cluster), LogReader(cluster, committed=False)

    async def log_end(self) -> int:
        """The offset below which nothing will be published from now on. Raises `CLUSTER_ERRORS`."""
        return (await self._uncommitted.bounds(self._topic, [self._partition]))[self._partition].end

    async def publish(self, record: Record) -> int:
        """Publish a command; returns its offset. Raises `Unpublished` on any doubt, which `find` then has to settle."""
        producer = self._producer
        try:
            async with asyncio.timeout(EMIT_SECONDS):
                await producer.begin_transaction()
                sent = await producer.send(
                    self._topic, record.value, key=record.key, partition=self._partition, headers=list(record.headers)
                )
                await asyncio.sleep(0)
                failpoints.reach("redrive sent")
                # The acknowledgement is awaited first: a commit succeeds even if a send failed (guard B3).
                offset: int = (await sent).offset
                failpoints.reach("redrive acknowledged")
                await producer.commit_transaction()
                failpoints.reach("redrive committed")
                return offset
        except Exception as error:
            raise Unpublished(f"{type(error).__name__}: {error}") from error

    async def find(self, command: Place, log_end: int) -> int | None:
        """Where a command was published again, from `log_end` on; None if it was not, and never will be.

        Another producer's open transaction hides the records after it, so the search waits for its end. Raises
        `Unpublished` if it does not end in time, and `CLUSTER_ERRORS`.
        """
        topic, partition = self._topic, self._partition
        end, deadline = await self.log_end(), time.monotonic() + SETTLE_SECONDS
        while (bounds := (await self._committed.bounds(topic, [partition]))[partition]).end < end:
            if time.monotonic() > deadline:
                where = f"{topic}/{partition}"
                raise Unpublished(f"for {SETTLE_SECONDS:.0f} s a producer has had a transaction open on {where}")
            await asyncio.sleep(_PAUSE_SECONDS)
        start, header = max(log_end, bounds.first), (REDRIVEN_FROM, str(command).encode())
        async for records in self._committed.read(topic, partition, start, end):
            for record in records:
                # Only the last header counts: a command that was published again twice has one for each time.
                if record.headers and record.headers[-1] == header:
                    return record.offset
        return None


@asynccontextmanager
async def redriver(settings: Settings, cluster: Cluster, partition: int) -> AsyncIterator[Redriver]:
    """The one redriver of a partition. Once it has started, nothing of its predecessor can become visible.

    Raises `CLUSTER_ERRORS`.
    """
    id = f"{_id_prefix(settings)}{partition}"
    async with transactional_producer(settings, id, _END_SENT, max_request_size=_MOST_REQUEST_BYTES) as producer:
        failpoints.reach("redrive started")
        yield Redriver(settings.topic_commands, partition, producer, cluster)
