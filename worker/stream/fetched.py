"""Turns aiokafka's records into the worker's own."""

from aiokafka.structs import ConsumerRecord

from worker.domain.command import UnreadableRecord
from worker.messages.envelope import Record
from worker.stream.lenient_batches import NAME_NOT_UTF8

_UNREADABLE = UnreadableRecord(NAME_NOT_UTF8, "Expected header names in UTF-8")


def record_of(fetched: ConsumerRecord) -> Record:
    """The record, marked as unreadable where a header name is not UTF-8 (guard B8)."""
    return Record(
        fetched.topic,
        fetched.partition,
        fetched.offset,
        fetched.timestamp,
        fetched.key,
        fetched.value,
        fetched.headers,
        _UNREADABLE if fetched.checksum == NAME_NOT_UTF8 else None,
    )
