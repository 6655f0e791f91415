"""Turns a Kafka record into a command, whatever its bytes are. Nothing here raises."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from worker.domain.command import (
    ApiKey,
    Command,
    CreatePassport,
    DeadLetter,
    InvalidBody,
    NoCredentials,
    Signature,
    Source,
    TraceContext,
    UnreadableRecord,
)
from worker.domain.gs1 import is_safe
from worker.domain.places import Place
from worker.domain.timestamps import clamp_ms
from worker.messages.body import read_body
from worker.messages.events import RECORD_BYTES, Header, header_bytes
from worker.messages.json_value import JsonObject, fingerprint, read_object
from worker.messages.signature import HEADER as SIGNATURE
from worker.messages.signature import STRUCTURED, Signed, read_signature

# Ten times the largest value of PASSPORT_LIMIT_HEADERS.
MOST_HEADERS = 10_000
LONGEST_IDEMPOTENCY_KEY = 255
"""Characters."""

_KNOWN_HEADERS = ("authorization", SIGNATURE, "idempotency-key", "content-type", "traceparent", "tracestate")
KnownHeaders = Mapping[str, Sequence[bytes | None]]
"""The values of each known header that the record has, by name in lower case."""

_STRUCTURED = STRUCTURED.encode("ascii")
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
# W3C Trace Context, section 3.3.1.1, of `tracestate`. No version of `traceparent` is longer.
_TRACE_BYTES = 512
_BEARER = re.compile(r"[ \t]*bearer[ \t]+(\S+)[ \t]*", re.IGNORECASE)
# The form of nearly all commands. It takes two thirds of the time of `_BEARER`, which reads this form the same way.
_USUAL_API_KEY = re.compile(rb"Bearer (tp_[!-~]+)")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a readable record: bytes of the value, number of headers, bytes per header value, JSON levels."""

    value_bytes: int = 64 * 1024
    headers: int = 64
    header_bytes: int = 8 * 1024
    json_depth: int = 32


class Record(NamedTuple):
    """A record as Kafka holds it. `unreadable` is set if the client library could not read it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    unreadable: UnreadableRecord | None = None

    @property
    def place(self) -> Place:
        """The record's place in Kafka."""
        return Place(self.topic, self.partition, self.offset)


class Envelope(NamedTuple):
    """A command. `token` is its OAuth access token, which `CommandReader` verifies to learn the credentials."""

    command: Command
    token: str | None


def open_envelope(record: Record, limits: Limits, audience: str | None = None, channel: str = "") -> Envelope:
    """Read a record into a command, which may be invalid or unreadable. Header names match in any case.

    Signatures have to name `audience`, by default the record's topic. `channel` is the channel of that topic.
    """
    headers = _known_headers(record.headers)
    key = _idempotency_key(headers.get("idempotency-key", ()))
    parsed = _parse(record, headers, limits)
    body: CreatePassport | InvalidBody | UnreadableRecord
    digest = letter = token = None
    if isinstance(parsed, UnreadableRecord):
        body, letter = parsed, dead_letter(record, parsed.code)
    else:
        body, digest = read_body(parsed), None if key is None else fingerprint(parsed)
    credentials: ApiKey | Signature | NoCredentials
    # With a signature, even a malformed one, a bearer secret in the same record does not count.
    if SIGNATURE in headers:
        is_structured = is_structured_cloud_event(headers.get("content-type", ()))
        has_key = "idempotency-key" in headers
        signed = Signed(audience or record.topic, record.value or b"", key, has_key, is_structured)
        credentials = read_signature(headers[SIGNATURE], signed, limits.header_bytes)
    else:
        credentials, token = _bearer(headers.get("authorization", ()))
    command = Command(  # by position, which takes half the time
        Source(record.topic, record.partition, record.offset, clamp_ms(record.timestamp_ms)),
        key if key is not None else f"{record.topic}:{record.partition}:{record.offset}",
        key,
        key is None and "idempotency-key" in headers,
        digest,
        credentials,
        body,
        _trace_context(headers.get("traceparent", ()), headers.get("tracestate", ())),
        letter,
        channel,
    )
    return Envelope(command, token)


def body_of(record: Record, limits: Limits) -> JsonObject | UnreadableRecord:
    """The body of a record, whether its fields are valid or not."""
    return _parse(record, _known_headers(record.headers), limits)


def without_excess(record: Record, limits: Limits) -> Record:
    """The record without its unknown headers, if it has too many to be held in memory; a header counts the others.

    A record may have tens of thousands of headers. As objects they take thirty times their bytes in the record.
    """
    if len(record.headers) <= MOST_HEADERS:
        return record
    kept: list[Header] = []
    for name in _KNOWN_HEADERS:  # two of a name are enough to see that it is repeated
        kept += [header for header in record.headers if header[0].lower() == name][:2]
    kept.append(("dlq-omitted-headers", str(len(record.headers) - len(kept)).encode("ascii")))
    return record._replace(headers=kept, unreadable=record.unreadable or _too_many_headers(limits))


def dead_letter(record: Record, reason: str) -> DeadLetter:
    """Copy a record without its credentials; without all content if it is too large for the dead-letter topic."""
    # Credentials may appear in the command topic alone (invariant I8). A signature is no secret, so it stays.
    headers = tuple(header for header in record.headers if header[0].lower() != "authorization")
    size = len(record.key or b"") + len(record.value or b"") + header_bytes(headers)
    if size > RECORD_BYTES:
        return DeadLetter(None, None, (("dlq-omitted-bytes", str(size).encode("ascii")),), reason)
    return DeadLetter(record.key, record.value, headers, reason)


def is_structured_cloud_event(content_types: Sequence[bytes | None]) -> bool:
    """CloudEvents 1.0 Kafka binding, section 3.1: the media type decides, its parameters do not."""
    return any(
        content_type is not None and content_type.split(b";", 1)[0].strip().lower() == _STRUCTURED
        for content_type in content_types
    )


def is_idempotency_key(text: str) -> bool:
    """Whether a passport can be bound to this key (rule 4)."""
    return 1 <= len(text) <= LONGEST_IDEMPOTENCY_KEY and is_safe(text)


def _known_headers(headers: Sequence[Header]) -> KnownHeaders:
    known: dict[str, list[bytes | None]] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in _KNOWN_HEADERS:
            if lower in known:
                known[lower].append(value)
            else:
                known[lower] = [value]
    return known


def _parse(record: Record, headers: KnownHeaders, limits: Limits) -> JsonObject | UnreadableRecord:  # noqa: C901 - one branch per reason
    """Rule 1. The order of the checks decides which reason a result gives, so do not change it."""
    if record.unreadable is not None:
        return record.unreadable
    if len(record.headers) > limits.headers:
        return _too_many_headers(limits)
    for _, content in record.headers:
        if content is not None and len(content) > limits.header_bytes:
            reason = f"Expected header values of at most {limits.header_bytes} bytes"
            return UnreadableRecord("header-too-large", reason)
    if len(headers.get("authorization", ())) > 1:
        return UnreadableRecord("repeated-authorization", "Expected one authorization header")
    value = record.value
    if value is None:
        return UnreadableRecord("tombstone", "Expected a JSON object, got a tombstone (null value)")
    if not value:
        return UnreadableRecord("empty-value", "Expected a JSON object, got an empty value")
    if len(value) > limits.value_bytes:
        return UnreadableRecord("value-too-large", f"Expected a value of at most {limits.value_bytes} bytes")
    parsed = read_object(value, limits.json_depth)
    if isinstance(parsed, dict) and is_structured_cloud_event(headers.get("content-type", ())):
        data = parsed.get("data")
        if not isinstance(data, dict):
            return UnreadableRecord("cloudevent-without-data", "Expected a CloudEvent with a JSON object in data")
        return data
    return parsed


def _too_many_headers(limits: Limits) -> UnreadableRecord:
    return UnreadableRecord("too-many-headers", f"Expected at most {limits.headers} headers")


def _idempotency_key(values: Sequence[bytes | None]) -> str | None:
    """The idempotency key; None if the header is absent, repeated, null, not UTF-8 or not well formed."""
    if len(values) != 1 or values[0] is None:
        return None
    try:
        key = values[0].decode("utf-8")
    except UnicodeDecodeError:
        return None
    return key if is_idempotency_key(key) else None


def _bearer(values: Sequence[bytes | None]) -> tuple[ApiKey | NoCredentials, str | None]:
    """The API key of an `authorization` header, or why it has none; and the access token, if it has one."""
    if len(values) != 1 or values[0] is None:
        return NoCredentials.REPEATED if len(values) > 1 else NoCredentials.MISSING, None
    usual = _USUAL_API_KEY.fullmatch(values[0])
    if usual is not None:
        return ApiKey(sha256(usual[1]).digest()), None
    try:
        text = values[0].decode("utf-8")
    except UnicodeDecodeError:
        return NoCredentials.NOT_UTF8, None
    match = _BEARER.fullmatch(text)
    if match is None:
        is_bearer = text.strip(" \t").lower().startswith("bearer")
        return NoCredentials.MALFORMED if is_bearer else NoCredentials.UNKNOWN_SCHEME, None
    token = match[1]
    if token.startswith("tp_"):
        return ApiKey(sha256(token.encode()).digest()), None
    return NoCredentials.OAUTH_OFF, token


def _trace_context(traceparents: Sequence[bytes | None], tracestates: Sequence[bytes | None]) -> TraceContext | None:
    """W3C Trace Context: a malformed or repeated `traceparent` drops both; several `tracestate` are one list."""
    # The result carries both and has to fit into its topic, so each of them is bounded.
    if len(traceparents) != 1 or traceparents[0] is None or len(traceparents[0]) > _TRACE_BYTES:
        return None
    match = _TRACEPARENT.fullmatch(traceparents[0])
    # Version 00 ends after its flags. Later versions may append to it (W3C Trace Context, section 3.2.4).
    if match is None or (match[1] == b"00" and match[2] is not None):
        return None
    state = b",".join(state for state in tracestates if state)
    return TraceContext(traceparents[0], state if 0 < len(state) <= _TRACE_BYTES else None)
