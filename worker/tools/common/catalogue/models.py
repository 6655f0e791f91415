"""The rows of a catalogue file as models. Values are taken as they are, never coerced."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from worker.auth.public_keys import NotAKey
from worker.domain.command import is_object_id
from worker.domain.gs1 import UNSAFE_TEXT
from worker.settings import CHANNEL
from worker.tools.common.jwk import SigningJwk, read_jwk

_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_API_KEY = re.compile(r"tp_[!-~]+")
_LARGEST_INTEGER = 2**31 - 1
"""Largest Postgres `integer`."""

_LARGEST_JSON = 128 * 1024
"""Bytes of JSON. Template, product and company together make a created event, which must fit its topic (2 MiB)."""


def _wrong(what: str) -> PydanticCustomError:
    return PydanticCustomError("expected", "Expected {what}", {"what": what})


def _only(what: str, fits: Callable[[Any], bool], *, is_text: bool = False, or_null: bool = False) -> PlainValidator:
    """Accepts values that fit, and leaves them as they are."""

    def check(value: object) -> object:
        if not (fits(value) or (or_null and value is None)):
            raise _wrong(what + (", or null" if or_null else "") + (_got(value) if is_text else ""))
        return value

    return PlainValidator(check)


_only_text = partial(_only, is_text=True)


def _got(value: object) -> str:
    """Say that a value is a number or a boolean, not text: YAML reads `007`, `on` and `no` so, without quotes."""
    if isinstance(value, int | float):
        kind = "true or false" if isinstance(value, bool) else "a number"
        return f", got {kind} (text that looks like one needs quotes)"
    return ""


def _is_label(value: object) -> bool:
    return isinstance(value, str) and not UNSAFE_TEXT.search(value)


def _is_text(value: object) -> bool:
    return value != "" and _is_label(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_INTEGER


def _matches(pattern: re.Pattern[str]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _parse_time(value: object) -> datetime | None:
    """Parse an ISO 8601 text, or take the time that YAML made of one, in UTC."""
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(time, datetime) and time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _wrong("an ISO 8601 date and time with a time zone, or null")


def hash_of_key(key: str) -> bytes:
    """SHA-256 of the whole API key, 32 bytes. Lone surrogates, which no valid key has, count as question marks."""
    return sha256(key.encode(errors="replace")).digest()


_TEXT = "text of at least one character, without control characters"
_INTEGER = f"an integer from 0 to {_LARGEST_INTEGER}"

Text = Annotated[str, _only_text(_TEXT, _is_text)]
TextOrNull = Annotated[str | None, _only_text(_TEXT, _is_text, or_null=True)]
Label = Annotated[str, _only_text("text without control characters", _is_label)]
Integer = Annotated[int, _only(_INTEGER, _is_integer)]
IntegerOrNull = Annotated[int | None, _only(_INTEGER, _is_integer, or_null=True)]
ObjectId = Annotated[str, _only_text("24 hexadecimal digits, as text", is_object_id), AfterValidator(str.lower)]
# None means an absent field; a null in the file is refused.
Digest = Annotated[bytes | None, _only_text("64 hexadecimal digits", _matches(_DIGEST)), AfterValidator(bytes.fromhex)]
HashedKey = Annotated[
    bytes | None,
    _only_text("text that starts with `tp_`, without spaces", _matches(_API_KEY)),
    AfterValidator(hash_of_key),
]
TimeOrNull = Annotated[datetime | None, PlainValidator(_parse_time)]


def _jwk(value: object) -> SigningJwk:
    try:
        return read_jwk(value)
    except NotAKey as error:
        raise PydanticCustomError("jwk", "{text}", {"text": str(error), "member": error.member}) from None


PublicJwk = Annotated[SigningJwk, PlainValidator(_jwk)]


def _json_bytes(value: object) -> int:
    """Length as JSON. Other checks report values that JSON cannot express."""
    return len(json.dumps(value, default=str, skipkeys=True))


def _not_too_large(value: dict[str, Any]) -> dict[str, Any]:
    if _json_bytes(value) > _LARGEST_JSON:
        raise _wrong(f"at most {_LARGEST_JSON} bytes of JSON")
    return value


JsonObject = Annotated[
    dict[str, Any], _only("an object", lambda value: isinstance(value, dict)), AfterValidator(_not_too_large)
]


def _channels_or_null(value: object) -> bool:
    if value is None:
        return True
    names = value if isinstance(value, list | tuple) else []
    return bool(names) and all(isinstance(name, str) and CHANNEL.fullmatch(name or "x") for name in names)


Channels = Annotated[
    tuple[str, ...] | None,
    _only('null, or a list of names of channels, with "" for the default channel', _channels_or_null),
]


class Row(BaseModel):
    """An object of the file, with camelCase names there. Unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


SUBSCRIPTIONS = (
    "active", "trialing", "past_due", "unpaid", "canceled", "incomplete", "incomplete_expired", "paused",
)  # fmt: skip
"""States in billing systems. A company may write in the first two (rule 7)."""

DATA_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value == int(value),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
"""Data types of fields, and a check of values for each."""


class Plan(Row):
    """A plan that companies can have."""

    id: Text = Field(description="Name of the plan.")
    max_dpps: IntegerOrNull = Field(description="Number of passports that a company may have; null: no limit.")
    overage_price_cents: IntegerOrNull = Field(
        description="Price of each passport above `maxDpps`, in cents of `PASSPORT_CURRENCY`; 0: free; null: not sold."
    )
    max_v1_writes_per_day: IntegerOrNull = Field(description="Number of passports per UTC day; null: no limit.")


class ApiKey(Row):
    """A key that a company's producers send. Give exactly one of `sha256` and `key`; only the hash is stored."""

    sha256: Digest = Field(None, description="SHA-256 of the whole key, in hexadecimal digits.")
    hashed_key: HashedKey = Field(None, alias="key", description="The key itself.")
    label: Label = Field("", description="A note for people, such as where the key is used.")
    revoked_at: TimeOrNull = Field(
        None,
        description="Commands appended at or after this time are refused. Without this field, an earlier revocation "
        "stays; null undoes it.",
    )

    @property
    def digest(self) -> bytes:
        """SHA-256 of the whole key, 32 bytes."""
        digest = self.sha256 or self.hashed_key
        assert digest is not None, "the whole file is checked for keys with neither"
        return digest


class SigningKey(Row):
    """A public key whose private key signs a company's commands. Missing fields keep their stored values."""

    jwk: PublicJwk = Field(
        description="Public key as a JWK (RFC 7517): Ed25519 or P-256. A `kid` in it must be the SHA-256 thumbprint."
    )
    label: Label = Field("", description="A note for people, such as where the key is used.")
    not_before: TimeOrNull = Field(None, description="Commands appended earlier are refused; null: none are.")
    revoked_at: TimeOrNull = Field(
        None, description="Commands appended at or after this time are refused; null undoes a revocation."
    )


class Company(Row):
    """A company whose producers send commands."""

    id: ObjectId = Field(alias="_id", description="Id of the company.")
    name: Text = Field(description="Name, for people.")
    plan: Text = Field(description="The `id` of a plan, in this file or in the database.")
    subscription: TextOrNull = Field(
        description=f"{' or '.join(SUBSCRIPTIONS[:2])}: may write; {', '.join(SUBSCRIPTIONS[2:])}, or any other: may "
        "not; null: needs no subscription."
    )
    prefill: JsonObject = Field(
        default_factory=dict,
        description="Values by field key, for fields without default in product and template; at most 128 KiB.",
    )
    channels: Channels = Field(
        None,
        description='The channels that its commands may use; "" is the default channel, null: any. On others they '
        "get 401 with the reason wrong-channel.",
    )
    api_keys: tuple[ApiKey, ...] = Field((), description="API keys of its producers. Other stored keys stay.")
    signing_keys: tuple[SigningKey, ...] = Field(
        (), description="Public keys of its producers. Other stored keys stay."
    )
    signatures_required_from: TimeOrNull = Field(
        None,
        description="Commands appended at or after this time must be signed: API keys and access tokens are refused. "
        "Without this field, the stored value stays; null: signatures are optional.",
    )
    closed_at: TimeOrNull = Field(
        None,
        description="Commands appended at or after this time get 401, whatever their credentials; `company close` sets "
        "it. Without this field, a closed company stays closed; null opens it again.",
    )


class TemplateField(Row):
    """A field that every passport of a template has."""

    key: Text = Field(description="Name of the field in the passport.")
    data_type: Text = Field(description=f"One of {', '.join(DATA_TYPES)}.")
    default_value: Any = Field(None, description='Value in a new passport; null and "": none.')


def _fields_not_too_large(fields: tuple[TemplateField, ...]) -> tuple[TemplateField, ...]:
    if sum(_json_bytes(field.model_dump()) for field in fields) > _LARGEST_JSON:
        raise _wrong(f"at most {_LARGEST_JSON} bytes of JSON")
    return fields


class Template(Row):
    """The fields that a category of products has."""

    id: ObjectId = Field(alias="_id", description="Id of the template.")
    category: Text = Field(description="Kind of products, for people.")
    version: Integer = Field(description="Version of the template, for people.")
    fields: Annotated[tuple[TemplateField, ...], AfterValidator(_fields_not_too_large)] = Field(
        description="Fields in the order of the passport; at most 128 KiB."
    )


class Product(Row):
    """A product; each unit of it can get a passport."""

    id: ObjectId = Field(alias="_id", description="Id of the product: the `productId` of commands.")
    company_id: ObjectId = Field(description="The `_id` of the company that owns it, in this file or in the database.")
    template_id: ObjectId = Field(description="The `_id` of its template, in this file or in the database.")
    name: Text = Field(description="Name, for people.")
    model: Text = Field(description="Model, for people.")
    default_field_values: JsonObject = Field(
        default_factory=dict, description="Values by key of the template's fields; at most 128 KiB."
    )


class Catalogue(Row):
    """A whole file. Ids are unique in it; references may lead to rows of the database."""

    plans: tuple[Plan, ...] = ()
    companies: tuple[Company, ...] = ()
    templates: tuple[Template, ...] = ()
    products: tuple[Product, ...] = ()
