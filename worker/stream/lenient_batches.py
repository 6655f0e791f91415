"""Decodes record batches with header names that are not UTF-8, on which aiokafka's own decoder fails (guard B8)."""

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

# The `checksum` of a record with such a header name. Other records of Kafka's current format have no checksum, so this
# marks the record without another look at each name.
NAME_NOT_UTF8 = "header-name-not-utf8"

# Positions in a batch: its length, the end of the length, from which it counts, and its records.
_LENGTH_AT, _LENGTH_ENDS, _RECORDS_AT = 8, 12, 61

_DECODERS = {0: bytes, 1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode}


class LenientBatches:
    """The batches of a message set, from the one that holds `offset` on. Replaces aiokafka's `MemoryRecords`.

    With `only_times`, records have offsets and times alone.
    """

    def __init__(self, message_set: bytes, offset: int, *, only_times: bool = False) -> None:
        self._left = deque((data, batch) for data, batch in _split(message_set) if batch.next_offset > offset)
        self._only_times = only_times

    def has_next(self) -> bool:
        """Whether a batch is left."""
        return bool(self._left)

    def next_batch(self) -> Any:
        """The next batch. aiokafka decodes markers, and batches of the old formats, which have no headers."""
        data, batch = self._left.popleft()
        return batch if batch.magic < 2 or batch.is_control_batch else _LenientBatch(data, batch, self._only_times)


def _split(message_set: bytes) -> Iterator[tuple[bytes, Any]]:
    """The bytes of each batch, and the batch. Leaves out the last one if Kafka has cut it off."""
    left = memoryview(message_set)
    while len(left) >= _LENGTH_ENDS:
        length = _LENGTH_ENDS + int.from_bytes(left[_LENGTH_AT:_LENGTH_ENDS], "big")
        if len(left) < length:
            return
        data, left = bytes(left[:length]), left[length:]
        yield data, MemoryRecords(data).next_batch()


class _Record(NamedTuple):
    """A record with those attributes of an aiokafka record that the worker reads."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: str | None


class _LenientBatch:
    """An aiokafka batch that decodes its own records. Header names that are not UTF-8 get backslash escapes."""

    def __init__(self, data: bytes, batch: Any, only_times: bool) -> None:
        self._data, self._batch, self._only_times = data, batch, only_times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[_Record]:
        batch = self._batch
        records = _DECODERS[batch.compression_type](self._data[_RECORDS_AT:])
        position = 0
        while position < len(records):
            length, start = decode_varint(records, position)
            position = start + length
            try:
                yield self._record(_Reader(records[start:position]))
            except (ValueError, IndexError) as error:
                raise CorruptRecordException(f"Found invalid record structure: {error!r}") from error

    def _record(self, reader: "_Reader") -> _Record:
        batch = self._batch
        reader.varint()  # attributes, which have no meaning
        delta, offset = reader.varint(), batch.base_offset + reader.varint()
        # With LogAppendTime, the broker sets one time for a whole batch, and leaves the producer's deltas in it.
        timestamp = batch.max_timestamp if batch.timestamp_type else batch.first_timestamp + delta
        if self._only_times:
            return _Record(offset, timestamp, None, None, [], None)
        key, value = reader.bytes(), reader.bytes()
        headers, checksum = [], None
        for _ in range(reader.varint()):
            name = reader.bytes() or b""
            try:
                text = name.decode()
            except UnicodeDecodeError:
                text, checksum = name.decode("utf-8", "backslashreplace"), NAME_NOT_UTF8
            headers.append((text, reader.bytes()))
        reader.check_end()
        return _Record(offset, timestamp, key, value, headers, checksum)


class _Reader:
    """Reads the bytes of one record in order."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def varint(self) -> int:
        """The next number."""
        number, self._position = decode_varint(self._data, self._position)
        return int(number)

    def bytes(self) -> bytes | None:
        """The next bytes, which follow their length; None if the length is negative."""
        length = self.varint()
        if length < 0:
            return None
        start, self._position = self._position, self._position + length
        return self._data[start : self._position]

    def check_end(self) -> None:
        """Raise `ValueError` unless all bytes were read, and no more."""
        if self._position != len(self._data):
            raise ValueError(f"a record of {len(self._data)} bytes does not end at {self._position}")
