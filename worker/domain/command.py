"""A create-passport command: one Kafka record, read into the values that rules look at."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple, TypeGuard

from worker.domain.places import place_text

OBJECT_ID = "[0-9a-f]{24}"
"""Regular expression of the ids of companies, products, templates and passports."""
_OBJECT_ID = re.compile(OBJECT_ID, re.IGNORECASE)

Party = Mapping[str, str]
FieldErrors = Mapping[str, list[str]]
"""Messages by dotted path, as in the REST API's `details.fieldErrors`."""


def is_object_id(value: object) -> TypeGuard[str]:
    """Whether a value is an id, in lower or upper case."""
    return isinstance(value, str) and _OBJECT_ID.fullmatch(value) is not None


class Source(NamedTuple):
    """Where and when the record was appended. The ids and times of its answer derive from nothing else."""

    topic: str
    partition: int
    offset: int
    appended_ms: int

    @property
    def passport_id(self) -> str:
        """24-hex ObjectId: 4 bytes of append time in seconds, then 8 bytes of SHA-256 over the place."""
        # An ObjectId has four bytes for the time, and a producer's clock may say 9999.
        seconds = (self.appended_ms // 1000) & 0xFFFFFFFF
        return f"{seconds:08x}{place_digits(place_text(self.topic, self.partition, self.offset))}"


def place_digits(place: str) -> str:
    """The last 16 digits of a passport's id, a hash of its command's place: operators find a command by them."""
    return sha256(place.encode()).hexdigest()[:16]


class ApiKey(NamedTuple):
    """A `tp_` API key. Only the SHA-256 of the whole key is kept."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An OAuth 2.0 access token with a verified signature, issuer and audience; times are Unix seconds."""

    company_id: str
    scopes: frozenset[str]
    expires_at: float
    not_before: float


class Signature(NamedTuple):
    """A record's own signature, as its header states it. Nothing is verified yet.

    `digest` is the SHA-256 of the whole header, `key_id` the RFC 7638 thumbprint of the key. `misfit` names the first
    claim of `aud`, `sha256`, `key` and `ct` that does not fit this record. Times are rounded up to milliseconds.
    Append times are whole milliseconds, so comparisons with them stay exact.
    """

    digest: bytes
    key_id: str
    algorithm: str
    signed: bytes
    signature: bytes
    misfit: str | None
    not_before_ms: int
    expires_ms: int


class NoCredentials(StrEnum):
    """Why a record has no credentials to check. Rule 2 tells producers few of these reasons; operators see all."""

    MISSING = "none"
    REPEATED = "repeated-header"
    NOT_UTF8 = "not-utf8"
    UNKNOWN_SCHEME = "unknown-scheme"
    MALFORMED = "malformed"
    OAUTH_OFF = "access-token-while-oauth-off"
    UNKNOWN_TOKEN = "unknown-access-token"
    OTHER_TOKEN_TYPE = "access-token-of-another-type"
    KEYS_UNAVAILABLE = "access-token-while-keys-unavailable"
    MALFORMED_SIGNATURE = "malformed-signature"


Credentials = ApiKey | AccessToken | Signature | NoCredentials


class CreatePassport(NamedTuple):
    """A valid body: the product id in lower case, and the known fields of `parties` as sent; None without parties."""

    product_id: str
    gtin: str
    serial: str
    parties: Mapping[str, Party] | None
    confirm_overage: bool


@dataclass(frozen=True, slots=True)
class InvalidBody:
    """A readable body with wrong fields. `omitted` counts the wrong paths that `field_errors` leaves out."""

    field_errors: FieldErrors
    omitted: int = 0


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A record that rule 1 refuses. The dead letter carries the stable `code`, the result the `reason` for people."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class TraceContext:
    """W3C trace context. The result carries it unchanged."""

    traceparent: bytes
    tracestate: bytes | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The copy of a record that could not be processed: everything except its `authorization` header."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    reason: str


class Command(NamedTuple):
    """A record, read and not decided yet.

    `key` is the key of the result. `idempotency_key` is the producer's, or None; rule 4 refuses when
    `key_is_malformed`. `fingerprint` is the SHA-256 of the canonical body, present where a key can be bound. `channel`
    is the channel of the record's topic; the default channel has an empty name.
    """

    source: Source
    key: str
    idempotency_key: str | None
    key_is_malformed: bool
    fingerprint: bytes | None
    credentials: Credentials
    body: CreatePassport | InvalidBody | UnreadableRecord
    trace: TraceContext | None
    dead_letter: DeadLetter | None
    channel: str = ""
