"""From aiokafka's records to ours."""

from aiokafka.structs import ConsumerRecord

from worker.messages.envelope import Record


def record_of(fetched: ConsumerRecord) -> Record:
    """The same record."""
    return Record(
        fetched.topic,
        fetched.partition,
        fetched.offset,
        fetched.timestamp,
        fetched.key,
        fetched.value,
        fetched.headers,
    )
