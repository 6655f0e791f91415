"""The closed set of outcomes of a command: a business refusal is a value, never an exception."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from worker.domain.catalogue import Product
from worker.domain.command import FieldErrors, Party


class Created(NamedTuple):
    """Rule 13: a new passport. `overage_price_cents` is set when it was charged as confirmed overage."""

    passport_id: str
    company_id: str
    product: Product
    gtin: str
    serial: str
    parties: Mapping[str, Party] | None
    overage_price_cents: int | None
    created_ms: int
    utc_day: int
    idempotency_key: str | None
    fingerprint: bytes | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """Rule 5: the key is bound to a created passport with the same fingerprint; its created event goes out again."""

    company_id: str
    passport_id: str
    created_body: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Rule 1."""

    reason: str


class SignatureProblem(StrEnum):
    """Why a signature is refused, in the order in which this is looked for; and that there has to be one."""

    MALFORMED = "signature-malformed"
    KEY_UNKNOWN = "signature-key-unknown"
    KEY_NOT_VALID = "signature-key-not-valid"
    MISMATCH = "signature-mismatch"
    EXPIRED = "signature-expired"
    TOO_LONG_LIVED = "signature-too-long-lived"
    WRONG = "signature-wrong"
    REQUIRED = "signature-required"


class CredentialsProblem(StrEnum):
    """Why other credentials are refused, where a producer may know it."""

    KEYS_UNAVAILABLE = "keys-unavailable"
    """Nobody could say whether an access token is good: the command may be sent again."""


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """Rule 2; of credentials that are not good the reason is told for signatures only."""

    reason: SignatureProblem | CredentialsProblem | None = None


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Rule 3."""

    company_id: str


@dataclass(frozen=True, slots=True)
class MalformedIdempotencyKey:
    """Rule 4."""

    company_id: str


@dataclass(frozen=True, slots=True)
class IdempotencyKeyReused:
    """Rule 5: the key is bound, but to another body."""

    company_id: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """Rule 6; `omitted` is the number of wrong paths that are not reported."""

    company_id: str
    field_errors: FieldErrors
    omitted: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a valid command asked for: every refusal from rule 7 on repeats it."""

    company_id: str
    product_id: str
    gtin: str
    serial: str


@dataclass(frozen=True, slots=True)
class SubscriptionInactive:
    """Rule 7."""

    asked: Asked
    subscription: str


@dataclass(frozen=True, slots=True)
class ProductNotFound:
    """Rule 8: unknown, or another company's."""

    asked: Asked


@dataclass(frozen=True, slots=True)
class DailyWritesSpent:
    """Rule 9."""

    asked: Asked
    writes_per_day: int
    writes_today: int


@dataclass(frozen=True, slots=True)
class GtinRegistered:
    """Rule 10: to another company, which is not named."""

    asked: Asked


@dataclass(frozen=True, slots=True)
class SerialExists:
    """Rule 11: within the company's own GTIN."""

    asked: Asked
    passport_id: str


@dataclass(frozen=True, slots=True)
class OverageRequired:
    """Rule 12: no slot is free and the plan sells more."""

    asked: Asked
    plan_limit: int
    current_usage: int
    price_cents: int


@dataclass(frozen=True, slots=True)
class HardBlock:
    """Rule 12: no slot is free and the plan sells no more."""

    asked: Asked
    plan_limit: int
    current_usage: int


RefusedRequest = (
    SubscriptionInactive
    | ProductNotFound
    | DailyWritesSpent
    | GtinRegistered
    | SerialExists
    | OverageRequired
    | HardBlock
)
"""Refusals of a valid command, from rule 7 on: they know what was asked for."""

Refused = (
    Unreadable | Unauthorized | Forbidden | MalformedIdempotencyKey | IdempotencyKeyReused | Invalid | RefusedRequest
)

Outcome = Created | Replayed | Refused
