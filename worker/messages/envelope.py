"""Reading: one Kafka record becomes one command, whatever its bytes; nothing here raises."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
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
from worker.domain.gs1 import UNSAFE_TEXT
from worker.domain.places import Place
from worker.domain.timestamps import clamp_ms
from worker.messages.body import read_body
from worker.messages.events import RECORD_BYTES, header_bytes
from worker.messages.json_value import JsonObject, fingerprint, read_object
from worker.messages.signature import HEADER as SIGNATURE
from worker.messages.signature import STRUCTURED, Signed, read_signature

Header = tuple[str, bytes | None]

MOST_HEADERS = 10_000
"""Ten times the largest limit that can be set."""

_KNOWN_HEADERS = ("authorization", SIGNATURE, "idempotency-key", "content-type", "traceparent", "tracestate")

Found = Mapping[str, Sequence[bytes | None]]
"""The values of those known headers that are there, by name in lower case."""

_STRUCTURED = STRUCTURED.encode("ascii")
LONGEST_IDEMPOTENCY_KEY = 255
"""Characters."""
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_TRACE_BYTES = 512
"""W3C Trace Context, section 3.3.1.1, of `tracestate`; a `traceparent` of a version to come is not longer, either."""
_USUAL_API_KEY = re.compile(rb"Bearer (tp_[!-~]+)")
"""As nearly all commands have it, in two thirds of the time; `_BEARER` takes it for the same."""
_BEARER = re.compile(r"[ \t]*bearer[ \t]+(\S+)[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a readable record: bytes of the value, number of headers, bytes a header value, JSON levels."""

    value_bytes: int = 64 * 1024
    headers: int = 64
    header_bytes: int = 8 * 1024
    json_depth: int = 32


class Record(NamedTuple):
    """A record as Kafka holds it. `unreadable` is set where the client library itself could not read it."""

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
        """Where the record stands."""
        return Place(self.topic, self.partition, self.offset)


def without_excess(record: Record, limits: Limits) -> Record:
    """A record whose headers can be held: of tens of thousands, those that count, and how many were left out.

    As objects they take thirty times the megabyte that they may have in a record.
    """
    if len(record.headers) <= MOST_HEADERS:
        return record
    kept = [header for name in _KNOWN_HEADERS for header in islice(_named(name, record.headers), 2)]
    omitted = ("dlq-omitted-headers", str(len(record.headers) - len(kept)).encode("ascii"))
    return record._replace(headers=[*kept, omitted], unreadable=record.unreadable or _too_many_headers(limits))


def _named(name: str, headers: Sequence[Header]) -> Iterator[Header]:
    return (header for header in headers if header[0].lower() == name)


class Envelope(NamedTuple):
    """A command whose credentials may still need a check: `token` is an OAuth access token that nobody verified."""

    command: Command
    token: str | None


def open_envelope(record: Record, limits: Limits, audience: str | None = None) -> Envelope:
    """Read one record (rules 1 and 4). Headers match without regard to case.

    `audience` is whom signatures have to be for; None: the record's topic.
    """
    source = Source(record.topic, record.partition, record.offset, clamp_ms(record.timestamp_ms))
    found = _known_headers(record.headers)
    key = _idempotency_key(found.get("idempotency-key", ()))
    body = _body_of(record, found, limits)
    digest = fingerprint(body) if key is not None and isinstance(body, dict) else None
    credentials: ApiKey | Signature | NoCredentials
    if SIGNATURE in found:
        credentials, token = _signature(record, found, key, limits, audience), None
    else:
        credentials, token = _credentials(found.get("authorization", ()))
    content: CreatePassport | InvalidBody | UnreadableRecord = read_body(body) if isinstance(body, dict) else body
    command = Command(  # by position, which takes half the time
        source,
        key if key is not None else f"{record.topic}:{record.partition}:{record.offset}",
        key,
        key is None and "idempotency-key" in found,
        digest,
        credentials,
        content,
        _trace_context(found.get("traceparent", ()), found.get("tracestate", ())),
        dead_letter(record, content.code) if isinstance(content, UnreadableRecord) else None,
    )
    return Envelope(command, token)


def body_of(record: Record, limits: Limits) -> JsonObject | UnreadableRecord:
    """What a record asks for, whether it is valid or not."""
    return _body_of(record, _known_headers(record.headers), limits)


def _body_of(record: Record, found: Found, limits: Limits) -> JsonObject | UnreadableRecord:
    return record.unreadable or _limit_broken(record, found, limits) or _read_value(record.value, found, limits)


def dead_letter(record: Record, reason: str) -> DeadLetter:
    """The record without its credentials; without anything where it is too large for the dead-letter topic."""
    headers = tuple(header for header in record.headers if header[0].lower() != "authorization")
    size = len(record.key or b"") + len(record.value or b"") + header_bytes(headers)
    if size > RECORD_BYTES:
        return DeadLetter(None, None, (("dlq-omitted-bytes", str(size).encode("ascii")),), reason)
    return DeadLetter(record.key, record.value, headers, reason)


def _known_headers(headers: Sequence[Header]) -> Found:
    found: dict[str, list[bytes | None]] = {}
    for name, value in headers:
        known = name.lower()
        if known in _KNOWN_HEADERS:
            if known in found:
                found[known].append(value)
            else:
                found[known] = [value]
    return found


def _limit_broken(record: Record, found: Found, limits: Limits) -> UnreadableRecord | None:
    if len(record.headers) > limits.headers:
        return _too_many_headers(limits)
    for _, value in record.headers:
        if value is not None and len(value) > limits.header_bytes:
            return UnreadableRecord(
                "header-too-large", f"Expected header values of at most {limits.header_bytes} bytes"
            )
    if len(found.get("authorization", ())) > 1:
        return UnreadableRecord("repeated-authorization", "Expected one authorization header")
    return None


def _too_many_headers(limits: Limits) -> UnreadableRecord:
    return UnreadableRecord("too-many-headers", f"Expected at most {limits.headers} headers")


def _read_value(value: bytes | None, found: Found, limits: Limits) -> JsonObject | UnreadableRecord:
    if value is None:
        return UnreadableRecord("tombstone", "Expected a JSON object, got a tombstone (null value)")
    if not value:
        return UnreadableRecord("empty-value", "Expected a JSON object, got an empty value")
    if len(value) > limits.value_bytes:
        return UnreadableRecord("value-too-large", f"Expected a value of at most {limits.value_bytes} bytes")
    parsed = read_object(value, limits.json_depth)
    if isinstance(parsed, dict) and is_structured_cloud_event(found.get("content-type", ())):
        data = parsed.get("data")
        if not isinstance(data, dict):
            return UnreadableRecord("cloudevent-without-data", "Expected a CloudEvent with a JSON object in data")
        return data
    return parsed


def is_structured_cloud_event(content_types: Sequence[bytes | None]) -> bool:
    """CloudEvents 1.0 Kafka binding, section 3.1: the media type decides, its parameters do not."""
    return any(
        content_type is not None and content_type.split(b";", 1)[0].strip().lower() == _STRUCTURED
        for content_type in content_types
    )


def _idempotency_key(values: Sequence[bytes | None]) -> str | None:
    """The well-formed key, or None (absent, or malformed: null, not UTF-8, not 1-255 characters, repeated)."""
    if len(values) != 1 or values[0] is None:
        return None
    try:
        key = values[0].decode("utf-8")
    except UnicodeDecodeError:
        return None
    return key if is_idempotency_key(key) else None


def is_idempotency_key(text: str) -> bool:
    """Whether something can be bound under it (rule 4)."""
    return 1 <= len(text) <= LONGEST_IDEMPOTENCY_KEY and not UNSAFE_TEXT.search(text)


def _signature(
    record: Record, found: Found, key: str | None, limits: Limits, audience: str | None
) -> Signature | NoCredentials:
    is_structured = is_structured_cloud_event(found.get("content-type", ()))
    signed = Signed(audience or record.topic, record.value or b"", key, "idempotency-key" in found, is_structured)
    return read_signature(found[SIGNATURE], signed, limits.header_bytes)


def _credentials(values: Sequence[bytes | None]) -> tuple[ApiKey | NoCredentials, str | None]:
    """The API key, or the access token that somebody has to verify, or what was seen in place of them."""
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
    """W3C Trace Context: a malformed or repeated `traceparent` drops both; several `tracestate` are one list.

    Both are bounded, whatever a header may hold: they come back with the result, which has to fit into its topic.
    """
    if len(traceparents) != 1 or traceparents[0] is None or len(traceparents[0]) > _TRACE_BYTES:
        return None
    match = _TRACEPARENT.fullmatch(traceparents[0])
    if match is None or (match[1] == b"00" and match[2] is not None):
        return None
    state = b",".join(state for state in tracestates if state)
    return TraceContext(traceparents[0], state if 0 < len(state) <= _TRACE_BYTES else None)
