"""The create-passport body as a model, from which its JSON Schema is generated.

A worker reads bodies by `worker.messages.body`, in a fraction of the time. Tests compare the two.
"""

from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, WithJsonSchema
from pydantic.alias_generators import to_camel

from worker.messages.countries import ISO_3166_1_ALPHA_2


def _text(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **schema})


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


class Gs1(_Model):
    """GS1 identification of the unit."""

    gtin: Annotated[str, _text(pattern="^[0-9]{14}$", description="GTIN-14 with a valid check digit")]
    serial_number: Annotated[str, _text(**{"minLength": 1, "maxLength": 100, "not": {"enum": [".", ".."]}})]


class Party(_Model):
    """An economic operator; at least one of `gln` and `legacyOperatorId` identifies it."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["gln"]}, {"required": ["legacyOperatorId"]}]})

    legal_name: Annotated[str, _text(minLength=1, maxLength=200)]
    gln: Annotated[str, _text(pattern="^[0-9]{13}$", description="GLN with a valid check digit")] = ""
    country: Annotated[
        str, WithJsonSchema({"enum": sorted(ISO_3166_1_ALPHA_2), "description": "ISO 3166-1 alpha-2"})
    ] = ""
    legacy_operator_id: Annotated[str, _text(minLength=1, maxLength=100)] = ""
    url: Annotated[str, _text(format="uri", pattern="^[hH][tT][tT][pP][sS]?://", maxLength=2048)] = ""


_NOT_SENT = cast(Party, None)


class Parties(_Model):
    """Economic operators by role; a role that is not listed here is an error."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    manufacturer: Party = _NOT_SENT
    importer: Party = _NOT_SENT
    authorised_representative: Party = _NOT_SENT
    distributor: Party = _NOT_SENT
    recycler: Party = _NOT_SENT
    producer_responsibility_org: Party = _NOT_SENT


class CreatePassportBody(_Model):
    """The value of a create-passport command."""

    product_id: Annotated[str, _text(pattern="^[0-9a-fA-F]{24}$", description="ObjectId")]
    gs1: Gs1
    parties: Parties = cast(Parties, None)
    confirm_overage: bool = False
