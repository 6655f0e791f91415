"""What a catalogue file may hold, row by row: values are taken as they are, never coerced."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from worker.auth.public_keys import NotAKey
from worker.domain.gs1 import UNSAFE_TEXT
from worker.tools.common.jwk import SigningJwk, read_jwk

_OBJECT_ID = re.compile(r"[0-9A-Fa-f]{24}")
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_API_KEY = re.compile(r"tp_[!-~]+")
_LARGEST_INTEGER = 2**31 - 1
"""Of a Postgres `integer`."""

_LARGEST_JSON = 128 * 1024
"""Bytes. Template, product and company together seed a created event, which must fit into a result topic (2 MiB)."""


def _wrong(what: str) -> PydanticCustomError:
    return PydanticCustomError("expected", "Expected {what}", {"what": what})


def _only(what: str, fits: Callable[[Any], bool]) -> PlainValidator:
    """Lets pass what fits as it is, never coerced."""

    def check(value: object) -> object:
        if not fits(value):
            raise _wrong(what)
        return value

    return PlainValidator(check)


def _is_label(value: object) -> bool:
    return isinstance(value, str) and not UNSAFE_TEXT.search(value)


def _is_text(value: object) -> bool:
    return value != "" and _is_label(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_INTEGER


def _matches(pattern: re.Pattern[str]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _parse_time(value: object) -> datetime | None:
    """An ISO 8601 text, or the time that YAML made of one, in UTC."""
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(time, datetime) and time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _wrong("an ISO 8601 date and time with a time zone, or null")


def _lower(value: str) -> str:
    return value.lower()


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value)


def hash_of_key(key: str) -> bytes:
    """SHA-256 of the whole API key, 32 bytes; lone surrogates, which no key may hold, count as question marks."""
    return sha256(key.encode(errors="replace")).digest()


Text = Annotated[str, _only("text of at least one character, without control characters", _is_text)]
Label = Annotated[str, _only("text without control characters", _is_label)]
TextOrNull = Annotated[
    str | None,
    _only("text of at least one character, without control characters, or null", lambda v: v is None or _is_text(v)),
]
Integer = Annotated[int, _only(f"an integer from 0 to {_LARGEST_INTEGER}", _is_integer)]
IntegerOrNull = Annotated[
    int | None,
    _only(f"an integer from 0 to {_LARGEST_INTEGER}, or null", lambda value: value is None or _is_integer(value)),
]
ObjectId = Annotated[str, _only("24 hexadecimal digits, as text", _matches(_OBJECT_ID)), AfterValidator(_lower)]
# None stands for a field that is not there; a null in the file is refused.
Digest = Annotated[bytes | None, _only("64 hexadecimal digits", _matches(_DIGEST)), AfterValidator(_bytes)]
HashedKey = Annotated[
    bytes | None, _only("text that starts with `tp_`, without spaces", _matches(_API_KEY)), AfterValidator(hash_of_key)
]
TimeOrNull = Annotated[datetime | None, PlainValidator(_parse_time)]


def _jwk(value: object) -> SigningJwk:
    try:
        return read_jwk(value)
    except NotAKey as error:
        raise PydanticCustomError("jwk", "{text}", {"text": str(error), "member": error.member}) from None


PublicJwk = Annotated[SigningJwk, PlainValidator(_jwk)]


def _json_bytes(value: object) -> int:
    """Length as JSON; what JSON cannot say is reported elsewhere."""
    return len(json.dumps(value, default=str))


def _not_too_large(value: dict[str, Any]) -> dict[str, Any]:
    if _json_bytes(value) > _LARGEST_JSON:
        raise _wrong(f"at most {_LARGEST_JSON} bytes of JSON")
    return value


JsonObject = Annotated[
    dict[str, Any], _only("an object", lambda value: isinstance(value, dict)), AfterValidator(_not_too_large)
]


class Row(BaseModel):
    """An object of the file, in camel case there: frozen, and without fields that are not named here."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


SUBSCRIPTIONS = (
    "active", "trialing", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired", "paused",
)  # fmt: skip
"""Those that billing systems have; the company may write with the first two (rule 7)."""

DATA_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value == int(value),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
"""The types of JSON, and which values are of them."""


class Plan(Row):
    """The limits and prices that a company has bought."""

    id: Text = Field(description="Its name.")
    max_dpps: IntegerOrNull = Field(description="Passports that a company may have; null means no limit.")
    overage_price_cents: IntegerOrNull = Field(
        description="Price in cents of each passport above `maxDpps`; 0 sells them for nothing, null sells none."
    )
    max_v1_writes_per_day: IntegerOrNull = Field(description="Passports a UTC day; null means no limit.")


class ApiKey(Row):
    """A key that a company's producers send: exactly one of `sha256` and `key`. Only the hash is kept."""

    sha256: Digest = Field(None, description="SHA-256 of the whole key, in hexadecimal digits.")
    hashed_key: HashedKey = Field(None, alias="key", description="The key itself.")
    label: Label = Field("", description="Where the key is used, for people.")
    revoked_at: TimeOrNull = Field(
        None,
        description="Commands appended from then on are refused. If the field is missing, a revocation stays; null "
        "takes it back.",
    )

    @property
    def digest(self) -> bytes:
        """SHA-256 of the whole key, 32 bytes."""
        digest = self.sha256 or self.hashed_key
        assert digest is not None, "the whole file is checked for keys with neither"
        return digest


class SigningKey(Row):
    """A public key of a company's producers, for signatures. Missing fields of a stored key stay as they were."""

    jwk: PublicJwk = Field(
        description="Public key as a JWK (RFC 7517): Ed25519 or P-256. A `kid` in it must be the SHA-256 thumbprint."
    )
    label: Label = Field("", description="Where the key is used, for people.")
    not_before: TimeOrNull = Field(None, description="Commands appended before are refused; null refuses none.")
    revoked_at: TimeOrNull = Field(
        None, description="Commands appended from then on are refused; null takes a revocation back."
    )


class Company(Row):
    """A tenant: its plan, its keys and its values for passports."""

    id: ObjectId = Field(alias="_id", description="Its id.")
    name: Text = Field(description="Its name, for people.")
    plan: Text = Field(description="The `id` of its plan, in this file or in the database.")
    subscription: TextOrNull = Field(
        description=f"With {' or '.join(SUBSCRIPTIONS[:2])} the company may write; with "
        f"{', '.join(SUBSCRIPTIONS[2:])} or any other it may not; null means that it needs none."
    )
    prefill: JsonObject = Field(
        default_factory=dict,
        description="Values by the key of a field, where product and template have no default; at most 128 KiB.",
    )
    api_keys: tuple[ApiKey, ...] = Field((), description="Its API keys. Keys that are not listed stay as they are.")
    signing_keys: tuple[SigningKey, ...] = Field(
        (), description="Public keys for its signatures. Keys that are not listed stay as they are."
    )
    signatures_required_from: TimeOrNull = Field(
        None,
        description="Commands appended from then on have to be signed: API keys and access tokens are refused. If the "
        "field is missing, it stays as it was; null takes the requirement back.",
    )


class TemplateField(Row):
    """A field that every passport of the template has."""

    key: Text = Field(description="Its name in the passport.")
    data_type: Text = Field(description=f"One of {', '.join(DATA_TYPES)}.")
    default_value: Any = Field(None, description='Its value in a new passport; null and "" count as no value.')


def _fields_not_too_large(fields: tuple[TemplateField, ...]) -> tuple[TemplateField, ...]:
    if sum(_json_bytes(field.model_dump()) for field in fields) > _LARGEST_JSON:
        raise _wrong(f"at most {_LARGEST_JSON} bytes of JSON")
    return fields


class Template(Row):
    """The fields that a category of products has."""

    id: ObjectId = Field(alias="_id", description="Its id.")
    category: Text = Field(description="The kind of products that it is for, for people.")
    version: Integer = Field(description="Version of the template, for people.")
    fields: Annotated[tuple[TemplateField, ...], AfterValidator(_fields_not_too_large)] = Field(
        description="Its fields, in the order of the passport; at most 128 KiB."
    )


class Product(Row):
    """A product of a company, which passports are created for."""

    id: ObjectId = Field(alias="_id", description="Its id, the `productId` of commands.")
    company_id: ObjectId = Field(description="The `_id` of its company, in this file or in the database.")
    template_id: ObjectId = Field(description="The `_id` of its template, in this file or in the database.")
    name: Text = Field(description="Its name, for people.")
    model: Text = Field(description="Its model, for people.")
    default_field_values: JsonObject = Field(
        default_factory=dict, description="Values by the key of a field of its template; at most 128 KiB."
    )


class Catalogue(Row):
    """Everything that a file brings. Ids are unique in it; what they refer to may already be in the database."""

    plans: tuple[Plan, ...] = ()
    companies: tuple[Company, ...] = ()
    templates: tuple[Template, ...] = ()
    products: tuple[Product, ...] = ()
