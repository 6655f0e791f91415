"""The create-passport body as a model, from which its JSON Schema is generated.

A worker reads bodies by `worker.messages.body`, in a fraction of the time. Tests compare the two.
"""

from typing import Annotated, cast

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from worker.messages.countries import ISO_3166_1_ALPHA_2

ProductId = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{24}$", "description": "ObjectId"}),
]
Gtin = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{14}$", "description": "GTIN-14 with a valid check digit"}),
]
SerialNumber = Annotated[
    str,
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 100, "not": {"enum": [".", ".."]}}),
]
LegalName = Annotated[
    str,
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 200}),
]
Gln = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{13}$", "description": "GLN with a valid check digit"}),
]
Country = Annotated[
    str,
    WithJsonSchema({"enum": sorted(ISO_3166_1_ALPHA_2), "description": "ISO 3166-1 alpha-2"}),
]
OperatorId = Annotated[
    str,
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 100}),
]
Url = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "uri", "pattern": "^[hH][tT][tT][pP][sS]?://", "maxLength": 2048}),
]
ConfirmOverage = Annotated[bool, WithJsonSchema({"type": "boolean"})]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Gs1(_Model):
    """GS1 identification of the unit."""

    gtin: Gtin
    serial_number: SerialNumber = Field(alias="serialNumber")


class Party(_Model):
    """An economic operator; at least one of `gln` and `legacyOperatorId` identifies it."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["gln"]}, {"required": ["legacyOperatorId"]}]})

    legal_name: LegalName = Field(alias="legalName")
    gln: Gln = Field(default="")
    country: Country = Field(default="")
    legacy_operator_id: OperatorId = Field(default="", alias="legacyOperatorId")
    url: Url = Field(default="")


_NOT_SENT = cast(Party, None)


class Parties(_Model):
    """Economic operators by role; a role that is not listed here is an error."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    manufacturer: Party = _NOT_SENT
    importer: Party = _NOT_SENT
    authorised_representative: Party = Field(default=_NOT_SENT, alias="authorisedRepresentative")
    distributor: Party = _NOT_SENT
    recycler: Party = _NOT_SENT
    producer_responsibility_org: Party = Field(default=_NOT_SENT, alias="producerResponsibilityOrg")


class CreatePassportBody(_Model):
    """The value of a create-passport command."""

    product_id: ProductId = Field(alias="productId")
    gs1: Gs1
    parties: Parties = cast(Parties, None)
    confirm_overage: ConfirmOverage = Field(default=False, alias="confirmOverage")
