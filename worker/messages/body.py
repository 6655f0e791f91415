"""The create-passport body: its model, from which the JSON Schema is generated, and its field errors."""

from collections.abc import Callable, Mapping
from heapq import nsmallest
from json.encoder import encode_basestring_ascii as quoted
from typing import Annotated, Any, cast

from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from worker.domain import gs1
from worker.domain.command import CreatePassport, FieldErrors, InvalidBody
from worker.domain.seeding import compact_json
from worker.messages.countries import ISO_3166_1_ALPHA_2
from worker.messages.json_value import JsonObject

_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
_url = TypeAdapter(AnyUrl)


def _text(problem: Callable[[str], str | None], not_a_string: str) -> PlainValidator:
    """A string field: `problem` says what is wrong with a string; anything else is answered `not_a_string`."""

    def check(value: object) -> object:
        message = problem(value) if isinstance(value, str) else not_a_string
        if message is not None:
            raise PydanticCustomError("field", "{message}", {"message": message})
        return value

    return PlainValidator(check)


def _product_id_problem(text: str) -> str | None:
    return None if len(text) == 24 and _HEX_DIGITS.issuperset(text) else "Expected 24 hexadecimal digits"


def _text_problem(text: str, longest: int) -> str | None:
    if not 1 <= len(text) <= longest:
        return f"Expected 1 to {longest} characters"
    return "Expected no control characters or lone surrogates" if gs1.UNSAFE_TEXT.search(text) else None


def _legal_name_problem(text: str) -> str | None:
    return _text_problem(text, 200)


def _operator_id_problem(text: str) -> str | None:
    return _text_problem(text, 100)


def _country_problem(text: str) -> str | None:
    return None if text in ISO_3166_1_ALPHA_2 else "Expected an ISO 3166-1 alpha-2 country code in upper case"


def _url_problem(text: str) -> str | None:
    message = "Expected an http or https URL of at most 2048 characters"
    if len(text) > 2048 or not text.lower().startswith(("http://", "https://")):
        return message
    if gs1.UNSAFE_TEXT.search(text) or any(character.isspace() for character in text):
        return "Expected a URL without white space, control characters or lone surrogates"
    try:
        _url.validate_python(text)
    except ValidationError:
        return message
    return None


def _true_or_false(value: object) -> object:
    if not isinstance(value, bool):
        raise PydanticCustomError("field", "Expected true or false")
    return value


ProductId = Annotated[
    str,
    _text(_product_id_problem, "Expected 24 hexadecimal digits"),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{24}$", "description": "ObjectId"}),
]
Gtin = Annotated[
    str,
    _text(gs1.gtin_problem, "GTIN must be 14 digits"),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{14}$", "description": "GTIN-14 with a valid check digit"}),
]
SerialNumber = Annotated[
    str,
    _text(gs1.serial_problem, "Expected a string of 1 to 100 characters"),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 100, "not": {"enum": [".", ".."]}}),
]
LegalName = Annotated[
    str,
    _text(_legal_name_problem, "Expected a string of 1 to 200 characters"),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 200}),
]
Gln = Annotated[
    str,
    _text(gs1.gln_problem, "GLN must be 13 digits"),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{13}$", "description": "GLN with a valid check digit"}),
]
Country = Annotated[
    str,
    _text(_country_problem, "Expected an ISO 3166-1 alpha-2 country code in upper case"),
    WithJsonSchema({"enum": sorted(ISO_3166_1_ALPHA_2), "description": "ISO 3166-1 alpha-2"}),
]
OperatorId = Annotated[
    str,
    _text(_operator_id_problem, "Expected a string of 1 to 100 characters"),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 100}),
]
Url = Annotated[
    str,
    _text(_url_problem, "Expected an http or https URL of at most 2048 characters"),
    WithJsonSchema({"type": "string", "format": "uri", "pattern": "^[hH][tT][tT][pP][sS]?://", "maxLength": 2048}),
]
ConfirmOverage = Annotated[bool, PlainValidator(_true_or_false), WithJsonSchema({"type": "boolean"})]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


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


ROLES = tuple(field.alias or name for name, field in Parties.model_fields.items())
_PARTY_FIELDS = frozenset(field.alias or name for name, field in Party.model_fields.items())
_IDENTIFIERS = ("gln", "legacyOperatorId")
_UNKNOWN_ROLE = "Expected one of the roles " + ", ".join(ROLES)

_NAME_TOO_LONG = f"{_UNKNOWN_ROLE}; got a name that is too long to be repeated"

MOST_FIELD_ERRORS = 100
"""So many paths are reported, each with all of its messages; a body can be wrong at thousands."""
MOST_BYTES = 8 * 1024
"""The JSON of the reported field errors is no longer. Escapes can make a name six times as long as it was sent."""
_LONGEST_ROLE_PATH = MOST_BYTES - len(compact_json({"": [_UNKNOWN_ROLE]})) + len(quoted(""))
"""Bytes of JSON: a longer path would not fit even alone."""

_validate = CreatePassportBody.__pydantic_validator__.validate_python


def read_body(body: JsonObject) -> CreatePassport | InvalidBody:
    """Check every field of a body and report all that is wrong, by dotted path.

    Where these are over `MOST_FIELD_ERRORS` or over `MOST_BYTES`, the first in the order of their paths are reported,
    and the others counted.
    """
    return _flawless(body) or _judged(body)


def _flawless(body: JsonObject) -> CreatePassport | None:
    """A body in which nothing is wrong; None for others. By the same checks as the model's, in a third of the time."""
    product_id, identity, parties = body.get("productId"), body.get("gs1"), body.get("parties", {})
    if type(product_id) is not str or type(identity) is not dict or type(parties) is not dict:
        return None
    gtin, serial, confirmed = identity.get("gtin"), identity.get("serialNumber"), body.get("confirmOverage", False)
    if (
        type(gtin) is str
        and type(serial) is str
        and type(confirmed) is bool
        and _product_id_problem(product_id) is None
        and gs1.gtin_problem(gtin) is None
        and gs1.serial_problem(serial) is None
        and all(role in ROLES and _is_flawless_party(party) for role, party in parties.items())
    ):
        return _as_command(body)
    return None


def _is_flawless_party(party: object) -> bool:
    if type(party) is not dict or "legalName" not in party or not ("gln" in party or "legacyOperatorId" in party):
        return False
    for name, value in party.items():
        problem = _PARTY_PROBLEMS.get(name)
        if problem is not None and (type(value) is not str or problem(value) is not None):
            return False
    return True


_PARTY_PROBLEMS: Mapping[str, Callable[[str], str | None]] = {
    "legalName": _legal_name_problem,
    "gln": gs1.gln_problem,
    "country": _country_problem,
    "legacyOperatorId": _operator_id_problem,
    "url": _url_problem,
}


def _judged(body: JsonObject) -> CreatePassport | InvalidBody:
    field_errors: dict[str, list[str]] = {}
    try:
        _validate(body)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_context=False, include_input=False):
            path = ".".join(str(part) for part in problem["loc"])
            field_errors[path] = [_MESSAGES.get(problem["type"], problem["msg"])]
    if looks_like_cloud_event(body):
        field_errors["specversion"] = [_NO_COMMAND]
    parties = body.get("parties")
    omitted = _judge_parties(parties, field_errors) if isinstance(parties, dict) else 0
    if not field_errors:
        return _as_command(body)
    if not omitted and len(field_errors) <= MOST_FIELD_ERRORS and len(compact_json(field_errors)) <= MOST_BYTES:
        return InvalidBody(field_errors)
    reported = _first_that_fit(field_errors)
    return InvalidBody(reported, omitted + len(field_errors) - len(reported))


def _first_that_fit(field_errors: FieldErrors) -> dict[str, list[str]]:
    """As many as both bounds allow, in the order of their paths; at least one, since each fits alone."""
    reported: dict[str, list[str]] = {}
    size = len("{}")
    for path, messages in sorted(field_errors.items()):
        size += len(compact_json({path: messages})) - len("{}") + (len(",") if reported else 0)
        if size > MOST_BYTES or len(reported) == MOST_FIELD_ERRORS:
            break
        reported[path] = messages
    return reported


def looks_like_cloud_event(body: JsonObject) -> bool:
    """`specversion`, and nothing of a command beside it."""
    return "specversion" in body and not body.keys() & {"productId", "gs1"}


_NO_COMMAND = "Expected a command, got a CloudEvent: send it with the header content-type: application/cloudevents+json"
_MESSAGES = {"missing": "Required", "model_type": "Expected an object", "model_attributes_type": "Expected an object"}


def _judge_parties(parties: JsonObject, field_errors: dict[str, list[str]]) -> int:
    """Add what the model cannot see: unidentified parties, and unknown roles, which may be named like a path.

    Of unknown roles only the first by name are added, since there may be thousands; how many paths were left out. A
    name that is too long for any result is told of at `parties`, which stands for one such path.
    """
    unknown = [role for role in parties if role not in ROLES]
    repeatable = [role for role in unknown if len(quoted(f"parties.{role}")) <= _LONGEST_ROLE_PATH]
    too_long = len(unknown) - len(repeatable)
    if too_long:
        field_errors["parties"] = [_NAME_TOO_LONG]
    named = set(nsmallest(MOST_FIELD_ERRORS, repeatable))
    seen = {path.removeprefix("parties.") for path in field_errors}
    omitted = max(0, too_long - 1) + sum(role not in named and role not in seen for role in repeatable)
    for role, party in parties.items():
        if role in named:
            field_errors.setdefault(f"parties.{role}", []).append(_UNKNOWN_ROLE)
        elif role in ROLES and isinstance(party, dict) and not any(name in party for name in _IDENTIFIERS):
            field_errors.setdefault(f"parties.{role}", []).append("Expected gln or legacyOperatorId")
    return omitted


def _as_command(body: Mapping[str, Any]) -> CreatePassport:
    """The values of a body that has no field errors."""
    parties = body.get("parties")
    return CreatePassport(
        product_id=body["productId"].lower(),
        gtin=body["gs1"]["gtin"],
        serial=body["gs1"]["serialNumber"],
        parties={role: _known_fields(party) for role, party in parties.items()} if parties else None,
        confirm_overage=body.get("confirmOverage", False),
    )


def _known_fields(party: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in party.items() if name in _PARTY_FIELDS}
