"""The body of a created passport as a model, for its JSON Schema. The worker itself writes bytes, for speed."""

from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic.json_schema import SkipJsonSchema

from worker.domain.command import OBJECT_ID
from worker.tools.common import command_model

ObjectId = Annotated[str, Field(pattern=f"^{OBJECT_ID}$", description="ObjectId in lower case")]
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


class ResultModel(BaseModel):
    """A part of a result. Optional fields are left out, never null.

    The schemas do not forbid further fields: a result may gain optional fields within v1, and consumers that validate
    with an older schema must accept them. Tests check that today's worker writes no field that is missing here.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


class PassportGs1(ResultModel):
    """GS1 identification of the unit."""

    gtin: Gtin
    serial_number: SerialNumber
    digital_link_uri: str = Field(description="GS1 Digital Link URI", json_schema_extra={"format": "uri"})
    conformant: bool = Field(description="Whether the serial number is a GS1 AI 21 value")


class FieldCounts(ResultModel):
    """The fields of the passport, counted by status."""

    total: Count
    empty: Count
    approved: Count
    pending_review: Count
    flagged: Count


class ApprovedField(ResultModel):
    """A field that was filled from the catalogue."""

    value: Annotated[JsonValue, WithJsonSchema({"not": {"enum": [None, ""]}})]
    status: Literal["approved"]
    source: Literal["product", "template", "company"] = Field(description="Where the value comes from")


class EmptyField(ResultModel):
    """A field that is still to be filled."""

    value: None
    status: Literal["empty"]


class PassportParty(command_model.Party):
    """An economic operator, with the known fields as they were sent."""

    # Not the list of the command's schema: a country that is added there must not break readers of this one.
    country: Annotated[str, Field(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2")] = ""


_NOT_SENT = cast(PassportParty, None)


class PassportParties(ResultModel):
    """Economic operators by role. A role is a field, so that further ones may come."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    manufacturer: PassportParty = _NOT_SENT
    importer: PassportParty = _NOT_SENT
    authorised_representative: PassportParty = _NOT_SENT
    distributor: PassportParty = _NOT_SENT
    recycler: PassportParty = _NOT_SENT
    producer_responsibility_org: PassportParty = _NOT_SENT


class Overage(ResultModel):
    """What a passport above the plan's quota was charged."""

    price_cents: Cents


class Created(ResultModel):
    """A new passport; a replayed event has the same body."""

    id: ObjectId = Field(alias="_id")
    company_id: ObjectId
    product_id: ObjectId
    template_id: ObjectId
    gs1: PassportGs1
    status: Literal["draft"]
    completion_percentage: int = Field(ge=0, le=100, description="Approved fields of all fields, rounded down")
    field_counts: FieldCounts
    fields: dict[str, ApprovedField | EmptyField] = Field(description="Fields of the product's template, by key")
    parties: PassportParties | SkipJsonSchema[None] = Field(
        default=None, description="Economic operators by role, if they were sent"
    )
    overage: Overage | SkipJsonSchema[None] = Field(default=None, description="Present if the passport was charged")
    created_at: Timestamp
