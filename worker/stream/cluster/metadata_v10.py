"""Version 10 of the metadata request, with topic ids (KIP-516) and allowed operations (KIP-430). aiokafka has 5."""

import base64
from io import BytesIO
from typing import Any

from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, Int16, Int32

from worker.store.port import TopicIdentity
from worker.stream.cluster.flexible import TEXT, array, structure

# Kafka's `AclOperation` numbers the operations, and the answer has a bit of that number for each allowed one.
_OPERATIONS = {"Read": 3, "Write": 4}

# The bits of a broker that does not know the allowed operations.
_UNKNOWN = -(2**31)
_NO_ID = b"\0" * 16


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka ships no types
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


_PARTITION = (
    *(("error_code", Int16), ("partition", Int32), ("leader", Int32), ("leader_epoch", Int32)),
    *((name, CompactArray(Int32)) for name in ("replicas", "isr", "offline_replicas")),
)
_TOPIC = (
    *(("error_code", Int16), ("topic", TEXT), ("topic_id", _Uuid), ("is_internal", Boolean)),
    ("partitions", array(*_PARTITION)),
    ("authorized_operations", Int32),
)


class _MetadataResponse_v10(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = structure(
        ("throttle_time_ms", Int32),
        ("brokers", array(("node_id", Int32), ("host", TEXT), ("port", Int32), ("rack", TEXT))),
        ("cluster_id", TEXT),
        ("controller_id", Int32),
        ("topics", array(*_TOPIC)),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataRequest_v10(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse_v10
    SCHEMA = structure(
        ("topics", array(("topic_id", _Uuid), ("topic", TEXT))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class TopicsRequest(Request[_MetadataRequest_v10]):  # type: ignore[misc]
    """Asks for ids and allowed operations of topics, and creates none of them."""

    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataRequest_v10]) -> _MetadataRequest_v10:
        """See `aiokafka.protocol.api.Request`."""
        return request_struct_class([(_NO_ID, topic, {}) for topic in self._topics], False, False, True, {})


def operations_by_topic(response: Any) -> dict[str, frozenset[str]]:
    """The allowed operations of each topic. Topics that do not exist are left out."""
    allowed: dict[str, frozenset[str]] = {}
    for code, topic, _, _, _, bits, _ in response.topics:
        if code == TopicAuthorizationFailedError.errno:
            allowed[topic] = frozenset()
        elif code == 0 and bits != _UNKNOWN:
            allowed[topic] = frozenset(name for name, number in _OPERATIONS.items() if bits & 1 << number)
    return allowed


def identities_of(response: Any) -> dict[str, TopicIdentity | KafkaError | None]:
    """The id of each topic in an answer; None if the broker gives no id; or the topic's error."""
    identities: dict[str, TopicIdentity | KafkaError | None] = {}
    for code, topic, topic_id, *_ in response.topics:
        if code:
            identities[topic] = for_code(code)(f"topic {topic}: error {code}")
        elif topic_id == _NO_ID:
            identities[topic] = None
        else:
            id = base64.urlsafe_b64encode(topic_id).decode("ascii").rstrip("=")
            identities[topic] = TopicIdentity(response.cluster_id, id)
    return identities
