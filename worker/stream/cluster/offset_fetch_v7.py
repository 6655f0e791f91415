"""Version 7 of OffsetFetch, the first that sees pending transactions (KIP-447). aiokafka has up to 3."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest_v3
from aiokafka.protocol.types import Boolean, CompactArray, Int16, Int32, Int64
from aiokafka.structs import TopicPartition

from worker.stream.cluster.flexible import TEXT, array, structure

_PARTITION = (
    *(("partition", Int32), ("offset", Int64), ("leader_epoch", Int32)),
    *(("metadata", TEXT), ("error_code", Int16)),
)


class OffsetFetchResponse_v7(Response):  # type: ignore[misc]  # aiokafka ships no types
    """The offsets of a group. An answer with an error of its own, such as a moved coordinator, has no partitions."""

    API_KEY = 9
    API_VERSION = 7
    SCHEMA = structure(
        ("throttle_time_ms", Int32),
        ("topics", array(("topic", TEXT), ("partitions", array(*_PARTITION)))),
        ("error_code", Int16),
    )


class OffsetFetchRequest_v7(RequestStruct):  # type: ignore[misc]
    """With `require_stable`, a partition with an open transaction has the error UNSTABLE_OFFSET_COMMIT."""

    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = OffsetFetchResponse_v7
    SCHEMA = structure(
        ("consumer_group", TEXT),
        ("topics", array(("topic", TEXT), ("partitions", CompactArray(Int32)))),
        ("require_stable", Boolean),
    )


class OffsetsRequest(Request[OffsetFetchRequest_v3 | OffsetFetchRequest_v7]):  # type: ignore[misc]
    """Asks for committed offsets of a group. Brokers before Kafka 2.5 ignore `stable`."""

    API_KEY = 9

    def __init__(self, group_id: str, partitions: Mapping[str, Collection[int]] | None, *, stable: bool) -> None:
        """`partitions` are those of each topic; None asks for all partitions that have an offset."""
        self._group_id, self._partitions, self._stable = group_id, partitions, stable

    def build(
        self, request_struct_class: type[OffsetFetchRequest_v3 | OffsetFetchRequest_v7]
    ) -> OffsetFetchRequest_v3 | OffsetFetchRequest_v7:
        """See `aiokafka.protocol.api.Request`."""
        topics: Any = None if self._partitions is None else [(topic, [*own]) for topic, own in self._partitions.items()]
        if request_struct_class.API_VERSION < 7:
            return request_struct_class(self._group_id, topics)
        return request_struct_class(self._group_id, topics and [(*topic, {}) for topic in topics], self._stable, {})


class Committed(NamedTuple):
    """A committed offset of a group, and the text that was committed with it."""

    offset: int
    metadata: str

    @property
    def is_ours(self) -> bool:
        """Whether a worker committed it, together with the results below it. Otherwise a tool did."""
        return self.metadata == worker_metadata(self.offset)


def worker_metadata(offset: int) -> str:
    """The text that a worker commits with an offset."""
    return f"passport-worker {offset}"


def committed_offsets(response: Any) -> Mapping[TopicPartition, Committed | KafkaError | None]:
    """The offset of each partition in an answer, None for a partition without one, or the error of the partition.

    Raises the error of the whole answer (guard B17).
    """
    if response.error_code:
        raise _error(response.error_code, "the group's offsets")
    offsets: dict[TopicPartition, Committed | KafkaError | None] = {}
    for topic, partitions, *_ in response.topics:
        for part in partitions:
            partition, offset, *_, metadata, code = part[:-1] if response.API_VERSION >= 7 else part
            committed = None if offset < 0 else Committed(offset, metadata or "")
            error = _error(code, f"the offset of {topic}/{partition}") if code else None
            offsets[TopicPartition(topic, partition)] = error or committed
    return offsets


class UnstableOffset(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    """An open transaction may still move the offset. aiokafka does not know this error."""

    errno = 88
    message = "UNSTABLE_OFFSET_COMMIT"


def _error(code: int, what: str) -> KafkaError:
    kind = UnstableOffset if code == UnstableOffset.errno else for_code(code)
    error: KafkaError = kind(f"{what}: error {code}")
    return error
