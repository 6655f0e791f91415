"""Private attributes of aiokafka that the worker uses, and the faults of aiokafka that are mended inside it.

When aiokafka changes, read its sources beside this module, raise `_KNOWN_VERSION`, and run
`tests/integration/test_guards_*.py` against a real Kafka.
"""

import asyncio
from collections import deque
from collections.abc import Container, Iterator
from typing import Any, NamedTuple

import aiokafka
import aiokafka.client
import aiokafka.consumer.fetcher
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.protocol.metadata import MetadataRequest as _MetadataRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint
from aiokafka.structs import ConsumerRecord, TopicPartition

_KNOWN_VERSION = "0.14."

if not aiokafka.__version__.startswith(_KNOWN_VERSION):
    raise ImportError(
        f"worker.stream.aiokafka_internals fits aiokafka {_KNOWN_VERSION}x, got {aiokafka.__version__}: "
        "compare what it uses with the sources of that version"
    )

# Asking for topics


class MetadataRequest(_MetadataRequest):  # type: ignore[misc]  # aiokafka ships no types
    """Asks about topics, and makes none: a topic that a broker makes has one partition and the producers' time.

    aiokafka lets a broker that may do so make every topic that it asks about, and has no option to forbid it.
    """

    def __init__(self, topics: list[str] | None = None) -> None:
        super().__init__(topics, allow_auto_topic_creation=False)


aiokafka.client.MetadataRequest = MetadataRequest  # for all clients of this process

# Decoding of record batches (guard B8)

NAME_NOT_UTF8 = "header-name-not-utf8"
"""The `checksum` of a record with such a header name. Other records of Kafka's current format have none."""

_LENGTH_AT, _LENGTH_ENDS = 8, 12
"""Where each record batch has the number of bytes that follow."""


class _MessageSet:
    """aiokafka's `MemoryRecords`, with the bytes that they are made of."""

    def __init__(self, message_set: bytes) -> None:
        self.bytes, self.batches = message_set, MemoryRecords(message_set)
        self.has_next, self.size_in_bytes = self.batches.has_next, self.batches.size_in_bytes


class _Records(PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    """The records of a partition in one answer to a fetch.

    aiokafka raises `UnicodeDecodeError` at a header name that is not UTF-8, and again at each fetch from that offset.
    From that batch on, the rest of the answer is decoded by `_LenientBatch`.
    """

    _records_iterator: Any

    def __init__(self, place: TopicPartition, records: _MessageSet, *options: Any) -> None:
        super().__init__(place, records.batches, *options)
        self._message_set = records.bytes

    def __next__(self) -> ConsumerRecord:
        try:
            return next(self._records_iterator)  # not `super().__next__()`, which takes a tenth longer
        except StopIteration:
            self._records_iterator = None  # as aiokafka does, against a circle of references
            raise
        except UnicodeDecodeError:
            # aiokafka's walk over the batches begins again, at the batch of the bad record. It passes over records
            # below `next_fetch_offset`, which it has yielded, and still knows which transactions were aborted.
            self._records = _LenientBatches(self._message_set, self.next_fetch_offset, _LenientBatch)
            self._records_iterator = self._unpack_records()
            return next(self)


class _LenientBatches:
    """The batches of a message set from the one on that holds an offset, in place of `MemoryRecords`."""

    def __init__(self, message_set: bytes, offset: int, decoder: "type[_LenientBatch]") -> None:
        self._left = deque((data, batch) for data, batch in _split(message_set) if batch.next_offset > offset)
        self._decoder = decoder

    def has_next(self) -> bool:
        """Whether a batch is left."""
        return bool(self._left)

    def next_batch(self) -> Any:
        """The next one; markers, and batches of the formats that have no headers, as aiokafka decodes them."""
        data, batch = self._left.popleft()
        return batch if batch.magic < 2 or batch.is_control_batch else self._decoder(data)


def _split(message_set: bytes) -> Iterator[tuple[bytes, Any]]:
    """The bytes of each batch, and the batch; the last batch may be there in part, and is left out."""
    left = memoryview(message_set)
    while len(left) >= _LENGTH_ENDS:
        length = _LENGTH_ENDS + int.from_bytes(left[_LENGTH_AT:_LENGTH_ENDS], "big")
        if len(left) < length:
            return
        data, left = bytes(left[:length]), left[length:]
        yield data, MemoryRecords(data).next_batch()


class _LenientRecord(NamedTuple):
    """The attributes of aiokafka's records."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: str | None


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka ships no types
    """A batch whose header names may hold any bytes; what is not UTF-8 is escaped with backslashes."""

    _pos: int

    def _read_msg(self, decode_varint: object = None) -> _LenientRecord:
        length = self._varint()
        end = self._pos + length
        self._pos += 1  # attributes
        timestamp, offset = self._timestamp(), self.base_offset + self._varint()
        key, value = self._bytes(), self._bytes()
        headers, checksum = [], None
        for _ in range(self._varint()):
            name = self._bytes() or b""
            try:
                text = name.decode()
            except UnicodeDecodeError:
                text, checksum = name.decode("utf-8", "backslashreplace"), NAME_NOT_UTF8
            headers.append((text, self._bytes()))
        if self._pos != end:
            raise ValueError(f"a record of {length} bytes does not end at {self._pos}")  # aiokafka calls it corrupt
        return _LenientRecord(offset, timestamp, self.timestamp_type, key, value, headers, checksum)

    def _timestamp(self) -> int:
        delta = self._varint()
        return int(self.max_timestamp if self.timestamp_type else self.first_timestamp + delta)

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


class _TimesOnly(_LenientBatch):
    """A batch of which nobody wants keys, values and headers: a megabyte of headers takes a hundred as objects."""

    def _read_msg(self, decode_varint: object = None) -> _LenientRecord:
        length = self._varint()
        end = self._pos + length
        self._pos += 1  # attributes
        timestamp, offset = self._timestamp(), self.base_offset + self._varint()
        self._pos = end
        return _LenientRecord(offset, timestamp, self.timestamp_type, None, None, [], None)


aiokafka.consumer.fetcher.MemoryRecords = _MessageSet
aiokafka.consumer.fetcher.PartitionRecords = _Records


def records_of(
    response: Any, place: TopicPartition, offset: int, *, committed: bool = True, only_times: bool = False
) -> PartitionRecords:
    """The records of a partition in an answer to a fetch from `offset` on, as a consumer sees them.

    Markers and, for a `committed` reader, aborted records are left out. With `only_times` records have their offsets
    and times, and nothing else. Raises `CorruptRecordException` at a batch whose bytes fail their checksum.
    """
    part = response.topics[0][1][0]
    aborted, records = part[-3 if response.API_VERSION >= 11 else -2], _MessageSet(part[-1] or b"")
    if only_times:
        records.batches = _LenientBatches(records.bytes, offset, _TimesOnly)
    isolation = READ_COMMITTED if committed else READ_UNCOMMITTED
    return _Records(place, records, aborted, offset, None, None, True, isolation)


# Consumers


def check_membership(consumer: AIOKafkaConsumer) -> None:
    """Raise what ended the consumer's place in its group, such as a missing permission; a poll would raise it, too."""
    consumer._coordinator.check_errors()


def fetched_partitions(consumer: AIOKafkaConsumer) -> Container[TopicPartition]:
    """Partitions of which something was fetched and not polled yet; it changes as fetches are answered.

    To poll each partition of many for what is not there takes longer than to read.
    """
    fetched: Container[TopicPartition] = consumer._fetcher._records
    return fetched


async def wait_for_fetch(consumer: AIOKafkaConsumer, seconds: float) -> None:
    """Wait until something more is fetched, of any partition. As `getmany` with a timeout, but takes nothing.

    Raises what ended the consumer's place in its group.
    """
    check_membership(consumer)
    with consumer._subscription.fetch_context():  # counts as a poll, as `max_poll_interval_ms` wants it
        pass
    waiter = consumer._fetcher._create_fetch_waiter()
    try:
        async with asyncio.timeout(seconds):
            await waiter
    except TimeoutError:
        return
