"""Reading the one record that the client library cannot: a header name that is not UTF-8 (guard B8)."""

import asyncio

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.util import decode_varint
from aiokafka.structs import TopicPartition

from worker.domain.command import UnreadableRecord
from worker.messages.envelope import Header, Record
from worker.settings import Settings
from worker.stream.connection import ANSWER_SECONDS, client_options

_FETCH_BYTES = 4 * 1024 * 1024
_READ_COMMITTED = 1
_BATCH_OVERHEAD = 12
"""Bytes of base offset and length in front of every record batch."""


async def salvage(settings: Settings, place: TopicPartition, offset: int) -> Record:
    """Fetch the record at `offset` and read it leniently. Raises `LookupError` when it is not there."""
    client = AIOKafkaClient(**client_options(settings))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await client.bootstrap()
            await client._wait_on_metadata(place.topic)
            node = client.cluster.leader_for_partition(place)
            wanted = [(place.topic, [(place.partition, offset, _FETCH_BYTES)])]
            response = await client.send(node, FetchRequest(500, 1, _FETCH_BYTES, _READ_COMMITTED, wanted, rack_id=""))
        return _find(bytes(response.topics[0][1][0][-1]), place, offset)
    finally:
        await client.close()


def _find(message_set: bytes, place: TopicPartition, offset: int) -> Record:
    position = 0
    while position + _BATCH_OVERHEAD <= len(message_set):
        length = _BATCH_OVERHEAD + int.from_bytes(message_set[position + 8 : position + 12], "big")
        batch = _LenientBatch(bytearray(message_set[position : position + length]))
        if batch.base_offset <= offset < batch.next_offset:
            if not batch.validate_crc():
                raise LookupError(f"{place}: the broker's copy of offset {offset} is corrupt")
            return batch.find(place, offset)
        position += length
    raise LookupError(f"{place} has no record at offset {offset}")


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka ships no types
    """A record batch whose header names may hold any bytes: what is not UTF-8 is shown as `\\xNN`."""

    _pos: int

    def find(self, place: TopicPartition, offset: int) -> Record:
        self._maybe_uncompress()
        for _ in range(self._num_records):
            record = self._record(place)
            if record.offset == offset:
                return record
        raise LookupError(f"{place} has no record at offset {offset}")

    def _record(self, place: TopicPartition) -> Record:
        self._varint()  # length
        self._pos += 1  # attributes
        timestamp_delta, offset_delta = self._varint(), self._varint()
        key, value = self._bytes(), self._bytes()
        headers: list[Header] = []
        for _ in range(self._varint()):
            name = self._bytes() or b""
            headers.append((name.decode("utf-8", "backslashreplace"), self._bytes()))
        return Record(
            topic=place.topic,
            partition=place.partition,
            offset=self.base_offset + offset_delta,
            timestamp_ms=self.max_timestamp if self.timestamp_type else self.first_timestamp + timestamp_delta,
            key=key,
            value=value,
            headers=headers,
            unreadable=UnreadableRecord("header-name-not-utf8", "Expected header names in UTF-8"),
        )

    def _varint(self) -> int:
        number, self._pos = decode_varint(self._buffer, self._pos)
        return int(number)

    def _bytes(self) -> bytes | None:
        length = self._varint()
        if length < 0:
            return None
        taken = bytes(self._buffer[self._pos : self._pos + length])
        self._pos += length
        return taken
