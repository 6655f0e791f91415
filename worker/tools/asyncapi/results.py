"""The bodies of refusals as models, for their JSON Schemas. The worker itself writes bytes, for speed."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, RootModel
from pydantic.json_schema import SkipJsonSchema

from worker.domain import outcomes
from worker.messages.rules import REFUSALS
from worker.tools.asyncapi.passport import Cents, Count, Gtin, ObjectId, PassportParties, ResultModel, SerialNumber


def _exactly(value: str | int | None) -> Any:
    """A field that always has this value."""
    return Field(json_schema_extra={"const": value})


def _pattern(sentence: str) -> str:
    """Matches a sentence whose gaps are filled with numbers."""
    escaped = re.sub(r"([.()])", r"\\\1", re.sub(r"\{[^}]*\}", "#", sentence))
    return f"^{escaped.replace('#', '[0-9]+')}$"


class RequestGs1(ResultModel):
    """GS1 identification that the command asked for."""

    gtin: Gtin
    serial_number: SerialNumber = Field(alias="serialNumber")


class Request(ResultModel):
    """What a valid command asked for, so that it can be sent again."""

    product_id: ObjectId = Field(alias="productId")
    gs1: RequestGs1
    parties: PassportParties | SkipJsonSchema[None] = Field(
        default=None, description="Economic operators by role, if they were sent"
    )


class _OfRequest(ResultModel):
    """A refusal of a command whose body was valid."""

    request: Request


class OverageRequired(_OfRequest):
    """No slot is free; the plan sells more, for the price given here, to a command with `confirmOverage: true`."""

    error: str = _exactly(REFUSALS[outcomes.OverageRequired].error)
    plan_limit: Count = Field(alias="planLimit")
    current_usage: Count = Field(alias="currentUsage")
    extra_price_cents: Cents = Field(alias="extraPriceCents")
    message: str = _exactly(REFUSALS[outcomes.OverageRequired].message)
    status: int = _exactly(REFUSALS[outcomes.OverageRequired].status)


class GtinRegistered(_OfRequest):
    """The GTIN belongs to another company."""

    error: str = _exactly(REFUSALS[outcomes.GtinRegistered].error)
    conflict: str = _exactly(REFUSALS[outcomes.GtinRegistered].conflict)
    status: int = _exactly(REFUSALS[outcomes.GtinRegistered].status)


class SerialExists(_OfRequest):
    """The company already has a passport with this GTIN and serial number."""

    error: str = _exactly(REFUSALS[outcomes.SerialExists].error)
    conflict: str = _exactly(REFUSALS[outcomes.SerialExists].conflict)
    passport_id: ObjectId = Field(alias="passportId")
    status: int = _exactly(REFUSALS[outcomes.SerialExists].status)


class Conflict(RootModel[GtinRegistered | SerialExists]):
    """The GTIN or the serial number is taken."""


class UnreadableDetails(ResultModel):
    """What made the record unreadable."""

    reason: str


class Unreadable(ResultModel):
    """The record could not be read; a copy is on the dead-letter topic."""

    error: str = _exactly(REFUSALS[outcomes.Unreadable].error)
    details: UnreadableDetails
    status: int = _exactly(REFUSALS[outcomes.Unreadable].status)


FieldMessages = Annotated[list[str], Field(min_length=1)]


class ValidationErrorDetails(ResultModel):
    """All that is wrong, up to a hundred paths and 8 KiB."""

    field_errors: dict[str, FieldMessages] = Field(
        alias="fieldErrors",
        min_length=1,
        description="Messages by dotted path: at most 100 paths, and 8 KiB as JSON; of more, the first in their order",
    )
    omitted: Annotated[int, Field(ge=1)] | SkipJsonSchema[None] = Field(
        default=None, description="Number of further paths that are wrong, if there are any"
    )


class ValidationError(ResultModel):
    """Fields of the body, or the idempotency key, are not as they must be."""

    error: str = _exactly(REFUSALS[outcomes.Invalid].error)
    details: ValidationErrorDetails
    status: int = _exactly(REFUSALS[outcomes.Invalid].status)


class UnauthorizedDetails(ResultModel):
    """Why a signature is refused, that the company's commands have to be signed, or that keys are not available."""

    reason: str = Field(
        json_schema_extra={"enum": [*outcomes.SignatureProblem, *outcomes.CredentialsProblem]},
        description="wrong-channel: the company may not use the channel of the command; keys-unavailable: an access "
        "token of a key that nobody knows while the authorization server is "
        "away; the command may be sent again",
    )


class Unauthorized(ResultModel):
    """The credentials are missing, unknown, revoked or expired, or cannot be checked, or a signature is not good."""

    error: str = _exactly(REFUSALS[outcomes.Unauthorized].error)
    details: UnauthorizedDetails | SkipJsonSchema[None] = Field(
        default=None, description="Only of signatures, and of keys that are not available; else nothing is told"
    )
    status: int = _exactly(REFUSALS[outcomes.Unauthorized].status)


class ForbiddenDetails(ResultModel):
    """The scope that the access token lacks."""

    required_scope: Literal["passports:write"] = Field(alias="requiredScope")


class Forbidden(ResultModel):
    """The access token does not carry the scope."""

    error: str = _exactly(REFUSALS[outcomes.Forbidden].error)
    details: ForbiddenDetails
    status: int = _exactly(REFUSALS[outcomes.Forbidden].status)


class IdempotencyKeyReused(ResultModel):
    """The idempotency key is bound to another body."""

    error: str = _exactly(REFUSALS[outcomes.IdempotencyKeyReused].error)
    status: int = _exactly(REFUSALS[outcomes.IdempotencyKeyReused].status)


class SubscriptionDetails(ResultModel):
    """The state of the subscription."""

    status: str = Field(description="For example past_due")


class SubscriptionInactive(_OfRequest):
    """The company's subscription is neither active nor trialing."""

    error: str = _exactly(REFUSALS[outcomes.SubscriptionInactive].error)
    details: SubscriptionDetails
    status: int = _exactly(REFUSALS[outcomes.SubscriptionInactive].status)


class HardBlock(_OfRequest):
    """No slot is free, and the plan sells no more."""

    error: str = _exactly(REFUSALS[outcomes.HardBlock].error)
    plan_limit: Count = Field(alias="planLimit")
    current_usage: Count = Field(alias="currentUsage")
    message: str = _exactly(REFUSALS[outcomes.HardBlock].message)
    status: int = _exactly(REFUSALS[outcomes.HardBlock].status)


class ProductNotFound(_OfRequest):
    """The company has no such product."""

    error: str = _exactly(REFUSALS[outcomes.ProductNotFound].error)
    status: int = _exactly(REFUSALS[outcomes.ProductNotFound].status)


class DailyWritesSpent(_OfRequest):
    """The plan's write budget of the UTC day is spent."""

    error: str = Field(pattern=_pattern(REFUSALS[outcomes.DailyWritesSpent].error))
    status: int = _exactly(REFUSALS[outcomes.DailyWritesSpent].status)


class Rejected(
    RootModel[
        Unreadable
        | ValidationError
        | Unauthorized
        | Forbidden
        | IdempotencyKeyReused
        | SubscriptionInactive
        | HardBlock
        | ProductNotFound
        | DailyWritesSpent
    ]
):
    """Every refusal that is neither a conflict nor a question about overage."""
