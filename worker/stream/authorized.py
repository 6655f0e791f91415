"""Version 8 of the metadata request, the first that tells what may be done with a topic (KIP-430); aiokafka has 5."""

from typing import Any

from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

_OPERATIONS = {"Read": 3, "Write": 4}
"""Numbers of Kafka's `AclOperation`, which are the bits' places; those that the worker asks for."""
_UNKNOWN = -(2**31)
"""What a broker says that does not know what is allowed."""


class _MetadataResponse_v8(Response):  # type: ignore[misc]  # aiokafka ships no types
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8")))),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataRequest_v8(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse_v8
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class AuthorizedOperationsRequest(Request[_MetadataRequest_v8]):  # type: ignore[misc]
    """What the asker may do with these topics; makes none of them."""

    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataRequest_v8]) -> _MetadataRequest_v8:
        """As aiokafka asks for it."""
        return request_struct_class(self._topics, False, False, True)


def operations_by_topic(response: Any) -> dict[str, frozenset[str]]:
    """Allowed operations of each topic of which the broker knows; a topic that is not there is not among them."""
    allowed: dict[str, frozenset[str]] = {}
    for code, topic, _, _, bits in response.topics:
        if code == TopicAuthorizationFailedError.errno:
            allowed[topic] = frozenset()
        elif code == 0 and bits != _UNKNOWN:
            allowed[topic] = frozenset(name for name, place in _OPERATIONS.items() if bits & 1 << place)
    return allowed
