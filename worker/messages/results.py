"""The bodies of the four results as models, from which their JSON Schemas are generated; the hot path writes bytes."""

import re
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from worker.domain import outcomes
from worker.messages import body
from worker.messages.refusals import REFUSALS

ObjectId = Annotated[str, Field(pattern="^[0-9a-f]{24}$", description="ObjectId in lower case")]
Gtin = Annotated[str, Field(pattern="^[0-9]{14}$", description="GTIN-14")]
SerialNumber = Annotated[str, Field(min_length=1, max_length=100, description="Serial number, as sent")]
Count = Annotated[int, Field(ge=0)]
Cents = Annotated[int, Field(ge=0, description="Price in cents")]
Timestamp = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
        description="ISO 8601 in UTC with milliseconds",
        json_schema_extra={"format": "date-time"},
    ),
]


class _Result(BaseModel):
    """Our own output: an optional field is left out, never null.

    The schemas do not forbid further fields: within v1 a result may gain optional ones, and who checks with an older
    schema must not refuse them. That today's worker writes none that is not described here is for the tests to see.
    """

    model_config = ConfigDict(frozen=True)


def _exactly(value: str | int | None) -> Any:
    """A field that always has this value."""
    return Field(json_schema_extra={"const": value})


def _pattern(sentence: str) -> str:
    """What a sentence looks like whose gaps are numbers."""
    escaped = re.sub(r"([.()])", r"\\\1", sentence)
    return f"^{escaped.format(per_day='[0-9]+', today='[0-9]+')}$"


class PassportGs1(_Result):
    """GS1 identification of the unit."""

    gtin: Gtin
    serial_number: SerialNumber = Field(alias="serialNumber")
    digital_link_uri: str = Field(
        alias="digitalLinkUri", description="GS1 Digital Link URI", json_schema_extra={"format": "uri"}
    )
    conformant: bool = Field(description="Whether the serial number is a GS1 AI 21 value")


class FieldCounts(_Result):
    """The fields of the passport, counted by status."""

    total: Count
    empty: Count
    approved: Count
    pending_review: Count = Field(alias="pendingReview")
    flagged: Count


class ApprovedField(_Result):
    """A field that was filled from the catalogue."""

    value: Annotated[JsonValue, WithJsonSchema({"not": {"enum": [None, ""]}})]
    status: Literal["approved"]
    source: Literal["product", "template", "company"] = Field(description="Where the value comes from")


class EmptyField(_Result):
    """A field that is still to be filled."""

    value: None
    status: Literal["empty"]


class PassportParty(body.Party):
    """An economic operator, with the known fields as they were sent."""

    # Not the list of the command's schema: a country that is added there must not break who reads this one.
    country: Annotated[str, Field(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2")] = ""


_NOT_SENT = cast(PassportParty, None)


class PassportParties(_Result):
    """Economic operators by role. A role is a field, so that further ones may come."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    manufacturer: PassportParty = _NOT_SENT
    importer: PassportParty = _NOT_SENT
    authorised_representative: PassportParty = Field(default=_NOT_SENT, alias="authorisedRepresentative")
    distributor: PassportParty = _NOT_SENT
    recycler: PassportParty = _NOT_SENT
    producer_responsibility_org: PassportParty = Field(default=_NOT_SENT, alias="producerResponsibilityOrg")


class Overage(_Result):
    """What a passport above the plan's quota was charged."""

    price_cents: Cents = Field(alias="priceCents")


class Created(_Result):
    """A new passport; a replayed event has the same body."""

    id: ObjectId = Field(alias="_id")
    company_id: ObjectId = Field(alias="companyId")
    product_id: ObjectId = Field(alias="productId")
    template_id: ObjectId = Field(alias="templateId")
    gs1: PassportGs1
    status: Literal["draft"]
    completion_percentage: int = Field(
        alias="completionPercentage", ge=0, le=100, description="Approved fields of all fields, rounded down"
    )
    field_counts: FieldCounts = Field(alias="fieldCounts")
    fields: dict[str, ApprovedField | EmptyField] = Field(description="Fields of the product's template, by key")
    parties: PassportParties | SkipJsonSchema[None] = Field(
        default=None, description="Economic operators by role, if they were sent"
    )
    overage: Overage | SkipJsonSchema[None] = Field(default=None, description="Present if the passport was charged")
    created_at: Timestamp = Field(alias="createdAt")


class RequestGs1(_Result):
    """GS1 identification that the command asked for."""

    gtin: Gtin
    serial_number: SerialNumber = Field(alias="serialNumber")


class Request(_Result):
    """What a valid command asked for."""

    product_id: ObjectId = Field(alias="productId")
    gs1: RequestGs1


class _OfRequest(_Result):
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


class UnreadableDetails(_Result):
    """What made the record unreadable."""

    reason: str


class Unreadable(_Result):
    """The record could not be read; a copy is on the dead-letter topic."""

    error: str = _exactly(REFUSALS[outcomes.Unreadable].error)
    details: UnreadableDetails
    status: int = _exactly(REFUSALS[outcomes.Unreadable].status)


FieldMessages = Annotated[list[str], Field(min_length=1)]


class ValidationErrorDetails(_Result):
    """All that is wrong, up to a hundred paths."""

    field_errors: dict[str, FieldMessages] = Field(
        alias="fieldErrors",
        min_length=1,
        description="Messages by dotted path; of more than 100 paths, the first 100 in their order",
    )
    omitted: Annotated[int, Field(ge=1)] | SkipJsonSchema[None] = Field(
        default=None, description="Number of further paths that are wrong, if there are any"
    )


class ValidationError(_Result):
    """Fields of the body, or the idempotency key, are not as they must be."""

    error: str = _exactly(REFUSALS[outcomes.Invalid].error)
    details: ValidationErrorDetails
    status: int = _exactly(REFUSALS[outcomes.Invalid].status)


class Unauthorized(_Result):
    """The credentials are missing, unknown, revoked or expired."""

    error: str = _exactly(REFUSALS[outcomes.Unauthorized].error)
    status: int = _exactly(REFUSALS[outcomes.Unauthorized].status)


class ForbiddenDetails(_Result):
    """The scope that the access token lacks."""

    required_scope: Literal["passports:write"] = Field(alias="requiredScope")


class Forbidden(_Result):
    """The access token does not carry the scope."""

    error: str = _exactly(REFUSALS[outcomes.Forbidden].error)
    details: ForbiddenDetails
    status: int = _exactly(REFUSALS[outcomes.Forbidden].status)


class IdempotencyKeyReused(_Result):
    """The idempotency key is bound to another body."""

    error: str = _exactly(REFUSALS[outcomes.IdempotencyKeyReused].error)
    status: int = _exactly(REFUSALS[outcomes.IdempotencyKeyReused].status)


class SubscriptionDetails(_Result):
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
