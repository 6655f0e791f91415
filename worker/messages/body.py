"""The create-passport body: what each field may hold, and every error of a body that is not valid."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
from heapq import nsmallest
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple

from pydantic import AnyUrl, TypeAdapter, ValidationError

from worker.domain import gs1
from worker.domain.command import CreatePassport, InvalidBody
from worker.domain.seeding import compact_json
from worker.messages.countries import ISO_3166_1_ALPHA_2
from worker.messages.json_value import JsonObject, ascii_json

Problem = Callable[[str], str | None]
"""The message about a string; None if it is valid."""


def _text(longest: int) -> tuple[Problem, str]:
    length = f"Expected 1 to {longest} characters"

    def problem(text: str) -> str | None:
        if not 1 <= len(text) <= longest:
            return length
        return None if gs1.is_safe(text) else "Expected no control characters or lone surrogates"

    return problem, f"Expected a string of 1 to {longest} characters"


LACKS_PARTY_ID = "Expected gln or legacyOperatorId"
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
_HEX = "Expected 24 hexadecimal digits"
_COUNTRY = "Expected an ISO 3166-1 alpha-2 country code in upper case"
_URL = "Expected an http or https URL of at most 2048 characters"
_any_url = TypeAdapter(AnyUrl)


def _id_problem(text: str) -> str | None:
    return None if len(text) == 24 and _HEX_DIGITS.issuperset(text) else _HEX


def _url_problem(text: str) -> str | None:
    return _URL if len(text) > 2048 else _short_url_problem(text)


# A company sends the same few URLs, and pydantic takes 3 µs for each. Callers check the length, so this holds 4 MB.
@lru_cache(maxsize=512)
def _short_url_problem(text: str) -> str | None:
    if not text.lower().startswith(("http://", "https://")):
        return _URL
    if not gs1.is_safe(text) or any(character.isspace() for character in text):
        return "Expected a URL without white space, control characters or lone surrogates"
    try:
        _any_url.validate_python(text)
    except ValidationError:
        return _URL
    return None


# By field: the check of a string, and the message about a value that is no string.
PARTY_CHECKS: Mapping[str, tuple[Problem, str]] = {
    "legalName": _text(200),
    "gln": (gs1.gln_problem, "GLN must be 13 digits"),
    "country": (lambda text: None if text in ISO_3166_1_ALPHA_2 else _COUNTRY, _COUNTRY),
    "legacyOperatorId": _text(100),
    "url": (_url_problem, _URL),
}
ROLES = ("manufacturer", "importer", "authorisedRepresentative", "distributor", "recycler", "producerResponsibilityOrg")
_KNOWN_ROLES = frozenset(ROLES)


class _Field(NamedTuple):
    name: str
    path: str  # dotted, as errors name the field
    problem: Problem
    otherwise: str  # the message about a value that is no string
    is_required: bool = True


_BODY_FIELDS = (_Field("productId", "productId", _id_problem, _HEX),)
_GS1_FIELDS = (
    _Field("gtin", "gs1.gtin", gs1.gtin_problem, "GTIN must be 14 digits"),
    _Field("serialNumber", "gs1.serialNumber", gs1.serial_problem, "Expected a string of 1 to 100 characters"),
)
_PARTY_FIELDS = {
    role: [_Field(name, f"parties.{role}.{name}", *check, name == "legalName") for name, check in PARTY_CHECKS.items()]
    for role in ROLES
}

_REQUIRED = "Required"
_OBJECT = "Expected an object"
_UNKNOWN_ROLE = "Expected one of the roles " + ", ".join(ROLES)
_NAME_TOO_LONG = f"{_UNKNOWN_ROLE}; got a name that is too long to be repeated"
_NO_COMMAND = "Expected a command, got a CloudEvent: send it with the header content-type: application/cloudevents+json"

# A body can be wrong at thousands of paths. The result reports this many, each with all of its messages.
MOST_FIELD_ERRORS = 100
# The limit for the JSON of the reported errors. Escapes can make a name six times as long as it was sent.
MOST_BYTES = 8 * 1024
# In bytes of JSON. A longer path would not fit even alone.
_LONGEST_ROLE_PATH = MOST_BYTES - len(compact_json({"": [_UNKNOWN_ROLE]})) + len(quoted(""))
# In characters. A shorter name has room, even if each of its characters is escaped as two surrogates.
_SHORT_ROLE = _LONGEST_ROLE_PATH // 12 - len("parties.")


def read_body(body: JsonObject) -> CreatePassport | InvalidBody:
    """Check every field of a body, and report all errors by dotted path.

    Above `MOST_FIELD_ERRORS` or `MOST_BYTES` it reports the first errors by path, and counts the others.
    """
    # Errors go into the bytes of the result in the order of these checks, so do not change it.
    errors: dict[str, list[str]] = {}
    _check_fields(errors, body, _BODY_FIELDS)
    identity, parties = body.get("gs1"), body.get("parties", {})
    if isinstance(identity, dict):
        _check_fields(errors, identity, _GS1_FIELDS)
    else:
        errors["gs1"] = [_OBJECT if "gs1" in body else _REQUIRED]
    if not isinstance(parties, dict):
        errors["parties"] = [_OBJECT]
    elif parties:
        _check_parties(errors, parties)
    if not isinstance(body.get("confirmOverage", False), bool):
        errors["confirmOverage"] = ["Expected true or false"]
    if looks_like_cloud_event(body):
        errors["specversion"] = [_NO_COMMAND]
    omitted = _check_roles(errors, parties) if isinstance(parties, dict) and parties else 0
    if errors:
        return _invalid(errors, omitted)
    valid: Any = body
    return CreatePassport(  # by position, which takes half the time
        valid["productId"].lower(),
        valid["gs1"]["gtin"],
        valid["gs1"]["serialNumber"],
        {role: _known_fields(party) for role, party in valid["parties"].items()} if parties else None,
        valid.get("confirmOverage", False),
    )


def looks_like_cloud_event(body: JsonObject) -> bool:
    """Whether the body has `specversion`, and no field of a command."""
    return "specversion" in body and not body.keys() & {"productId", "gs1"}


def _check_fields(errors: dict[str, list[str]], values: JsonObject, fields: Iterable[_Field]) -> None:
    for name, path, problem, otherwise, is_required in fields:
        if name in values:
            value = values[name]
            message = problem(value) if isinstance(value, str) else otherwise
            if message is not None:
                errors[path] = [message]
        elif is_required:
            errors[path] = [_REQUIRED]


def _check_parties(errors: dict[str, list[str]], parties: JsonObject) -> None:
    """The fields of each known role, in the order of `ROLES`."""
    for role in ROLES:
        if role not in parties:
            continue
        party = parties[role]
        if isinstance(party, dict):
            _check_fields(errors, party, _PARTY_FIELDS[role])
        else:
            errors[f"parties.{role}"] = [_OBJECT]


def _check_roles(errors: dict[str, list[str]], parties: JsonObject) -> int:
    """Add unknown roles, and parties without an identifier. Returns how many wrong paths were left out."""
    # There may be thousands of unknown roles, so only the first by name are added. The error at `parties` counts for
    # one role whose name is too long to repeat. A role can be named like the path of another error: "importer.gln".
    named, omitted = parties.keys() - _KNOWN_ROLES, 0
    if named and len(max(named, key=len)) > _SHORT_ROLE:
        repeatable = {role for role in named if len(quoted(f"parties.{role}")) <= _LONGEST_ROLE_PATH}
        if too_long := len(named) - len(repeatable):
            errors["parties"] = [_NAME_TOO_LONG]
            omitted = too_long - 1
        named = repeatable
    roles: Iterable[str] = parties
    if len(named) > MOST_FIELD_ERRORS:
        # Sorted by name, since a set has no order, and the same body has to give the same bytes.
        first = set(nsmallest(MOST_FIELD_ERRORS, named))
        others = {path.removeprefix("parties.") for path in errors} - first
        omitted += len(named) - len(first) - len(named & others)
        named, roles = first, (*first, *ROLES)  # `_invalid` sorts them
    for role in roles:
        if role in named:
            errors.setdefault(f"parties.{role}", []).append(_UNKNOWN_ROLE)
        elif role in _KNOWN_ROLES:
            party = parties.get(role)
            if isinstance(party, dict) and not ("gln" in party or "legacyOperatorId" in party):
                errors.setdefault(f"parties.{role}", []).append(LACKS_PARTY_ID)
    return omitted


def _invalid(errors: dict[str, list[str]], omitted: int) -> InvalidBody:
    """Report all errors in the order of the checks if both bounds allow that, else the first ones by path."""
    if not omitted and len(errors) <= MOST_FIELD_ERRORS and len(ascii_json(errors)) <= MOST_BYTES:
        return InvalidBody(errors)
    reported: dict[str, list[str]] = {}
    size = len("{}") - len(",")
    for path, messages in sorted(errors.items()):
        size += len(quoted(path)) + _size_of(*messages) + len(":,")
        if size > MOST_BYTES or len(reported) == MOST_FIELD_ERRORS:
            break
        reported[path] = messages
    return InvalidBody(reported, omitted + len(errors) - len(reported))


@cache
def _size_of(*messages: str) -> int:
    """Bytes of the messages as JSON. They are constants of this module and of `gs1`, so the cache stays small."""
    return len(compact_json(messages))


def _known_fields(party: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in party.items() if name in PARTY_CHECKS}
