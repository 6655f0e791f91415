"""Parts of Kafka's flexible protocol versions (KIP-482), where each structure ends with tags."""

from typing import Any

from aiokafka.protocol.types import CompactArray, CompactString, Schema, TaggedFields

TEXT = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)


def structure(*fields: tuple[str, Any]) -> Schema:
    """A structure with these fields, and tags."""
    return Schema(*fields, _TAGS)


def array(*fields: tuple[str, Any]) -> CompactArray:
    """An array of such structures."""
    return CompactArray(*fields, _TAGS)
