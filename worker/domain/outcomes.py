"""The closed set of outcomes of a command. A refusal by the rules is a value, never an exception."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from worker.domain.catalogue import Product
from worker.domain.command import FieldErrors, Party


class Created(NamedTuple):
    """Rule 13: a new passport. `overage_price_cents` is set if it was charged as confirmed overage."""

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
    """Rule 5: the key has created a passport from the same body. Its created event is published again."""

    company_id: str
    passport_id: str
    created_body: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Rule 1."""

    reason: str


class SignatureProblem(StrEnum):
    """Why rule 2 refuses a signature, in the order of the checks; or an unsigned command, for `REQUIRED`."""

    MALFORMED = "signature-malformed"
    KEY_UNKNOWN = "signature-key-unknown"
    KEY_NOT_VALID = "signature-key-not-valid"
    MISMATCH = "signature-mismatch"
    EXPIRED = "signature-expired"
    TOO_LONG_LIVED = "signature-too-long-lived"
    WRONG = "signature-wrong"
    REQUIRED = "signature-required"


class CredentialsProblem(StrEnum):
    """The reasons that rule 2 may tell producers of other credentials."""

    WRONG_CHANNEL = "wrong-channel"  # the company's commands have to come on another channel
    KEYS_UNAVAILABLE = "keys-unavailable"  # nobody could verify the access token: the command may be sent again


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """Rule 2. Most bad credentials are refused without a reason, so that nobody can probe for keys."""

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
    """Rule 5: the key has created a passport from another body."""

    company_id: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """Rule 6. `omitted` counts the wrong paths that `field_errors` leaves out."""

    company_id: str
    field_errors: FieldErrors
    omitted: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """The request of a valid command. Refusals from rule 7 on repeat it, so that a reader can send it again."""

    company_id: str
    product_id: str
    gtin: str
    serial: str
    parties: Mapping[str, Party] | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionInactive:
    """Rule 7."""

    asked: Asked
    subscription: str


@dataclass(frozen=True, slots=True)
class ProductNotFound:
    """Rule 8: the product does not exist, or another company has it."""

    asked: Asked


@dataclass(frozen=True, slots=True)
class DailyWritesSpent:
    """Rule 9."""

    asked: Asked
    writes_per_day: int
    writes_today: int


@dataclass(frozen=True, slots=True)
class GtinRegistered:
    """Rule 10: another company registered the GTIN. The result does not name it."""

    asked: Asked


@dataclass(frozen=True, slots=True)
class SerialExists:
    """Rule 11: the company has a passport with this GTIN and serial."""

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
"""Refusals of a valid command, from rule 7 on. They repeat its request."""

Refused = (
    Unreadable | Unauthorized | Forbidden | MalformedIdempotencyKey | IdempotencyKeyReused | Invalid | RefusedRequest
)

Outcome = Created | Replayed | Refused
