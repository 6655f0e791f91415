"""Looking at single records anywhere in a log, many times in a row, over one connection: for operators who search."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition

from worker.messages.envelope import Record
from worker.settings import Settings
from worker.stream.cluster.connection import ANSWER_SECONDS, client_options, close_within
from worker.stream.lenient_fetch import lenient_record, walk

LOOK_BYTES = 16 * 1024
"""Enough to look at one record; brokers give the whole of a first batch that is larger."""
READ_BYTES = 1024 * 1024
"""Where many records in a row are wanted."""
_WAIT_MS = 20
"""How long a broker may wait for records that are not there."""


class Probe:
    """Records of any topics as a `read_committed` reader sees them. Raises `CLUSTER_ERRORS`; no wait lasts.

    One question at a time.
    """

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client

    async def records(
        self, topic: str, partition: int, start: int, stop: int, *, at_once: int = LOOK_BYTES
    ) -> AsyncIterator[Record]:
        """Those at offsets from `start` to below `stop`, read lazily, past markers and aborted ones."""
        place, at = TopicPartition(topic, partition), start
        while at < stop:
            found = await self._fetch(place, at, at_once)
            for one in found:
                if one.offset >= stop:
                    return
                yield lenient_record(one)
            if found.next_fetch_offset <= at:
                return
            at = found.next_fetch_offset

    async def one(self, topic: str, partition: int, offset: int) -> Record | None:
        """The record at just that offset; None where there is none."""
        async for record in self.records(topic, partition, offset, offset + 1):
            return record
        return None

    async def _fetch(self, place: TopicPartition, offset: int, at_once: int) -> PartitionRecords:
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._client._wait_on_metadata(place.topic)
            node = self._client.cluster.leader_for_partition(place)
            wanted = [(place.topic, [(place.partition, offset, at_once)])]
            request = FetchRequest(_WAIT_MS, 1, at_once, READ_COMMITTED, wanted, rack_id="")
            response = await self._client.send(node, request)
        code = response.topics[0][1][0][1]
        if code not in (0, OffsetOutOfRangeError.errno):
            raise for_code(code)(f"{place.topic}/{place.partition}: error {code}")
        return walk(response, place, offset)


@asynccontextmanager
async def probe(settings: Settings) -> AsyncIterator[Probe]:
    """A probe of its own connections. Raises `CLUSTER_ERRORS`."""
    client = AIOKafkaClient(**client_options(settings))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await client.bootstrap()
        yield Probe(client)
    finally:
        await close_within(client.close(), 1.0)
