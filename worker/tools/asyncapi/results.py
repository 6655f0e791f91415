"""The bodies of refusals as models, for their JSON Schemas. The worker itself writes bytes, for speed."""

import re
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, Field, RootModel, create_model
from pydantic.json_schema import SkipJsonSchema

from worker.domain import outcomes
from worker.messages.rules import REFUSALS, Kind
from worker.tools.asyncapi.passport import Cents, Count, Gtin, ObjectId, PassportParties, ResultModel, SerialNumber


class RequestGs1(ResultModel):
    """GS1 identification that the command asked for."""

    gtin: Gtin
    serial_number: SerialNumber


class Request(ResultModel):
    """What a valid command asked for, so that it can be sent again."""

    product_id: ObjectId
    gs1: RequestGs1
    parties: PassportParties | SkipJsonSchema[None] = Field(
        default=None, description="Economic operators by role, if they were sent"
    )


class _OfRequest(ResultModel):
    """A refusal of a command whose body was valid."""

    request: Request


class UnreadableDetails(ResultModel):
    """What made the record unreadable."""

    reason: str


class ValidationErrorDetails(ResultModel):
    """All that is wrong, up to a hundred paths and 8 KiB."""

    field_errors: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(
        min_length=1,
        description="Messages by dotted path: at most 100 paths, and 8 KiB as JSON; of more, the first in their order",
    )
    omitted: Annotated[int, Field(ge=1)] | SkipJsonSchema[None] = Field(
        default=None, description="Number of further paths that are wrong, if there are any"
    )


class UnauthorizedDetails(ResultModel):
    """Why a signature is refused, that the company's commands have to be signed, or that keys are not available."""

    reason: str = Field(
        json_schema_extra={"enum": [*outcomes.SignatureProblem, *outcomes.CredentialsProblem]},
        description="wrong-channel: the company may not use the channel of the command; keys-unavailable: an access "
        "token of a key that nobody knows while the authorization server is "
        "away; the command may be sent again",
    )


class ForbiddenDetails(ResultModel):
    """The scope that the access token lacks."""

    required_scope: Literal["passports:write"]


class SubscriptionDetails(ResultModel):
    """The state of the subscription."""

    status: str = Field(description="For example past_due")


_OF_CREDENTIALS = Field(
    default=None, description="Only of signatures, and of keys that are not available; else nothing is told"
)
_BODIES: dict[type[outcomes.Outcome], tuple[type[ResultModel], str, dict[str, Any]]] = {
    outcomes.OverageRequired: (
        _OfRequest,
        "No slot is free; the plan sells more, for the price given here, to a command with `confirmOverage: true`.",
        {"planLimit": Count, "currentUsage": Count, "extraPriceCents": Cents},
    ),
    outcomes.GtinRegistered: (_OfRequest, "The GTIN belongs to another company.", {}),
    outcomes.SerialExists: (
        _OfRequest,
        "The company already has a passport with this GTIN and serial number.",
        {"passportId": ObjectId},
    ),
    outcomes.Unreadable: (
        ResultModel,
        "The record could not be read; a copy is on the dead-letter topic.",
        {"details": UnreadableDetails},
    ),
    outcomes.Invalid: (
        ResultModel,
        "Fields of the body, or the idempotency key, are not as they must be.",
        {"details": ValidationErrorDetails},
    ),
    outcomes.Unauthorized: (
        ResultModel,
        "The credentials are missing, unknown, revoked or expired, or cannot be checked, or a signature is not good.",
        {"details": (UnauthorizedDetails, _OF_CREDENTIALS)},
    ),
    outcomes.Forbidden: (ResultModel, "The access token does not carry the scope.", {"details": ForbiddenDetails}),
    outcomes.IdempotencyKeyReused: (ResultModel, "The idempotency key is bound to another body.", {}),
    outcomes.SubscriptionInactive: (
        _OfRequest,
        "The company's subscription is neither active nor trialing.",
        {"details": SubscriptionDetails},
    ),
    outcomes.HardBlock: (
        _OfRequest,
        "No slot is free, and the plan sells no more.",
        {"planLimit": Count, "currentUsage": Count},
    ),
    outcomes.ProductNotFound: (_OfRequest, "The company has no such product.", {}),
    outcomes.DailyWritesSpent: (_OfRequest, "The plan's write budget of the UTC day is spent.", {}),
}
"""By outcome: the base model, the meaning of the body, and its own members between those of its row."""


def _refusal(outcome: type[outcomes.Outcome]) -> type[BaseModel]:
    base, meaning, members = _BODIES[outcome]
    row = REFUSALS[outcome]
    name = "ValidationError" if outcome is outcomes.Invalid else outcome.__name__
    fields = {
        "error": _always(row.error),
        "conflict": _always(row.conflict),
        **members,
        "message": _always(row.message),
        "status": _always(row.status),
    }
    return create_model(
        name, __base__=base, __doc__=meaning, **{key: field for key, field in fields.items() if field is not None}
    )


def _always(value: str | int | None) -> Any:
    """A field that always has this value, or a sentence whose gaps are filled with numbers."""
    if value is None:
        return None
    if isinstance(value, str) and "{0." in value:
        escaped = re.sub(r"([.()])", r"\\\1", re.sub(r"\{[^}]*\}", "#", value))
        return str, Field(pattern=f"^{escaped.replace('#', '[0-9]+')}$")
    return type(value), Field(json_schema_extra={"const": value})


def _any_of(kind: Kind) -> Any:
    return Union[tuple(_refusal(outcome) for outcome in _BODIES if REFUSALS[outcome].kind is kind)]  # noqa: UP007  # of a tuple


OverageRequired = _refusal(outcomes.OverageRequired)


class Conflict(RootModel[_any_of(Kind.CONFLICT)]):  # type: ignore[misc]  # a type that is made here
    """The GTIN or the serial number is taken."""


class Rejected(RootModel[_any_of(Kind.REJECTED)]):  # type: ignore[misc]  # a type that is made here
    """Every refusal that is neither a conflict nor a question about overage."""
