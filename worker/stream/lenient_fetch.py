"""Reading the one record that the client library cannot: a header name that is not UTF-8 (guard B8)."""

import asyncio
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.util import decode_varint
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.domain.command import UnreadableRecord
from worker.messages.envelope import Header, Record
from worker.settings import Settings
from worker.stream.cluster.connection import ANSWER_SECONDS, client_options, close_within

_FETCH_BYTES = 4 * 1024 * 1024
_BATCH_OVERHEAD = 12
"""Bytes of base offset and length in front of every record batch."""

_UNREADABLE = UnreadableRecord("header-name-not-utf8", "Expected header names in UTF-8")


async def fetch_leniently(settings: Settings, place: TopicPartition, offset: int) -> Record:
    """Fetch the first record at `offset` or behind it, past markers and aborted records, and read it leniently.

    Raises `LookupError` when there is none, and `CorruptRecordException` when its bytes fail their checksum.
    """
    client = AIOKafkaClient(**client_options(settings))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await client.bootstrap()
            await client._wait_on_metadata(place.topic)
            node = client.cluster.leader_for_partition(place)
            wanted = [(place.topic, [(place.partition, offset, _FETCH_BYTES)])]
            response = await client.send(node, FetchRequest(500, 1, _FETCH_BYTES, READ_COMMITTED, wanted, rack_id=""))
        found = next(walk(response, place, offset), None)
        if found is None:
            raise LookupError(f"{place} has no record at offset {offset} or behind it")
        return lenient_record(found)
    finally:
        await close_within(client.close(), 1.0)


def walk(response: Any, place: TopicPartition, offset: int, *, only_times: bool = False) -> PartitionRecords:
    """aiokafka's own walk over the batches, which knows what a `read_committed` reader sees, with lenient batches.

    With `only_times`, records have their offsets and times, and nothing else: a megabyte of headers takes a hundred as
    objects. It raises `CorruptRecordException` where it comes to a batch whose bytes fail their checksum.
    """
    part = response.topics[0][1][0]
    aborted, message_set = part[-3 if response.API_VERSION >= 11 else -2], bytes(part[-1] or b"")
    batches = _LenientBatches(message_set, offset, only_times)
    return PartitionRecords(place, batches, aborted, offset, None, None, True, READ_COMMITTED)


def lenient_record(found: ConsumerRecord) -> Record:
    """A record of a walk; one whose header names are not UTF-8 is marked as unreadable, and they are escaped."""
    names = [name.encode("utf-8", "surrogateescape") for name, _ in found.headers]
    headers: list[Header] = [
        (name.decode("utf-8", "backslashreplace"), value) for name, (_, value) in zip(names, found.headers, strict=True)
    ]
    readable = all(name == lenient.encode() for name, (lenient, _) in zip(names, headers, strict=True))
    return Record(
        topic=found.topic,
        partition=found.partition,
        offset=found.offset,
        timestamp_ms=found.timestamp,
        key=found.key,
        value=found.value,
        headers=headers,
        unreadable=None if readable else _UNREADABLE,
    )


class _LenientBatches:
    """The batches of a fetch response, one after the other; the last may be there in part and is left out."""

    def __init__(self, message_set: bytes, start: int, only_times: bool) -> None:
        self._left, self._start, self._only_times = message_set, start, only_times

    def has_next(self) -> bool:
        return len(self._left) >= _BATCH_OVERHEAD and len(self._left) >= self._length()

    def next_batch(self) -> "_LenientBatch":
        length = self._length()
        batch, self._left = self._left[:length], self._left[length:]
        return _LenientBatch(bytearray(batch), self._start, self._only_times)

    def _length(self) -> int:
        return _BATCH_OVERHEAD + int.from_bytes(self._left[_BATCH_OVERHEAD - 4 : _BATCH_OVERHEAD], "big")


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka ships no types
    """A record batch whose header names may hold any bytes: what is not UTF-8 becomes surrogates.

    Of records at offsets below `start`, which nobody wants, nothing else is read.
    """

    _pos: int

    def __init__(self, buffer: bytearray, start: int, only_times: bool) -> None:
        super().__init__(buffer)
        self._start = start
        self._only_times = only_times and not self.is_control_batch  # the key of a marker tells what it ends

    def _read_msg(self, decode_varint: object = None) -> _DefaultRecordPy:
        length = self._varint()
        end = self._pos + length
        self._pos += 1  # attributes
        timestamp_delta, offset = self._varint(), self.base_offset + self._varint()
        if offset < self._start:
            self._pos = end
            return _DefaultRecordPy(offset, 0, self.timestamp_type, None, None, [])
        timestamp = self.max_timestamp if self.timestamp_type else self.first_timestamp + timestamp_delta
        if self._only_times:
            self._pos = end
            return _DefaultRecordPy(offset, timestamp, self.timestamp_type, None, None, [])
        key, value = self._bytes(), self._bytes()
        headers = [self._header() for _ in range(self._varint())]
        return _DefaultRecordPy(offset, timestamp, self.timestamp_type, key, value, headers)

    def _header(self) -> Header:
        name = self._bytes() or b""
        return name.decode("utf-8", "surrogateescape"), self._bytes()

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
