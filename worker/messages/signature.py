"""Reads the header `jws-signature`: a compact JWS (RFC 7515) of claims about one record. Nothing here raises."""

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from math import ceil
from typing import NamedTuple

from worker.domain.command import NoCredentials, Signature
from worker.messages.json_value import JsonObject, read_object

HEADER = "jws-signature"
TYPE = "dpp-command+jwt"
STRUCTURED = "application/cloudevents+json"
"""The one content type that changes the meaning of a value. The claim `ct` has to name it."""

_COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# The last characters allowed, by length modulo 4. Unused bits have to be 0, so that all bytes have only one text.
_LAST_CHARACTERS = {0: None, 2: b"AQgw", 3: b"AEIMQUYcgkosw048"}
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TO_URL = bytes.maketrans(b"+/", b"-_")
_JSON_DEPTH = 32
_LATEST_SECONDS = 10**13


class Signed(NamedTuple):
    """The record's values for its claims. `key` is the well-formed idempotency key; `has_key` says if any was sent."""

    audience: str
    value: bytes
    key: str | None
    has_key: bool
    is_structured: bool


def read_signature(values: Sequence[bytes | None], record: Signed, most_bytes: int) -> Signature | NoCredentials:
    """The signature of a record, not yet verified; `MALFORMED_SIGNATURE` for anything else."""
    header = values[0]
    match = None if len(values) > 1 or header is None or len(header) > most_bytes else _COMPACT.fullmatch(header)
    if match is None or header is None:
        return NoCredentials.MALFORMED_SIGNATURE
    protected, signature, claims = _protected(match[1]), from_base64url(match[3]), _object(match[2])
    if protected is None or signature is None or claims is None:
        return NoCredentials.MALFORMED_SIGNATURE
    expires_ms, not_before_ms = _milliseconds(claims.get("exp")), _milliseconds(claims.get("nbf", 0))
    if expires_ms is None or not_before_ms is None:
        return NoCredentials.MALFORMED_SIGNATURE
    algorithm, key_id = protected
    digest, misfit = sha256(header).digest(), _misfit(claims, record)
    return Signature(digest, key_id, algorithm, header[: match.end(2)], signature, misfit, not_before_ms, expires_ms)


def _misfit(claims: JsonObject, record: Signed) -> str | None:
    """The first claim that does not fit the record."""
    audience = claims.get("aud")
    if audience != record.audience and not (isinstance(audience, list) and record.audience in audience):
        return "aud"
    if claims.get("sha256") != digest_text(record.value):
        return "sha256"
    # The key is bound: the same body under another key would create a second passport. A malformed key fits no claim.
    is_same = not record.has_key and "key" not in claims if record.key is None else claims.get("key") == record.key
    if not is_same:
        return "key"
    return None if (claims.get("ct") == STRUCTURED) is record.is_structured else "ct"


def digest_text(value: bytes) -> str:
    """SHA-256 in base64url, as in the claim `sha256`."""
    return to_base64url(sha256(value).digest()).decode("ascii")


def to_base64url(data: bytes) -> bytes:
    """RFC 7515, appendix C: without padding."""
    return b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")


def from_base64url(text: bytes) -> bytes | None:
    """The decoded bytes; None if no encoder writes this text. `text` must hold only base64url characters."""
    last = _LAST_CHARACTERS.get(len(text) % 4, b"")
    if last is not None and text[-1] not in last:
        return None
    return a2b_base64(text.translate(_TO_STANDARD) + b"=" * (-len(text) % 4))


def _object(part: bytes) -> JsonObject | None:
    data = from_base64url(part)
    parsed = None if data is None else read_object(data, _JSON_DEPTH)
    return parsed if isinstance(parsed, dict) else None


def _protected(part: bytes) -> tuple[str, str] | None:
    """Algorithm and key id. All signatures of a key share this part, so it is remembered unless it is long."""
    return _remembered(part) if len(part) <= _REMEMBERED_BYTES else _read_protected(part)


def _read_protected(part: bytes) -> tuple[str, str] | None:
    header = _object(part)
    # Readers have to refuse extensions that they do not know (RFC 7515 section 4.1.11), and the worker knows none.
    if header is None or header.get("typ") != TYPE or "crit" in header:
        return None
    algorithm, key_id = header.get("alg"), header.get("kid")
    return (algorithm, key_id) if isinstance(algorithm, str) and isinstance(key_id, str) else None


# The settings allow headers of a megabyte, and anybody can send them.
_REMEMBERED_BYTES = 1024
_remembered = lru_cache(maxsize=256)(_read_protected)


def _milliseconds(claim: object) -> int | None:
    """A NumericDate (RFC 7519 section 2) in milliseconds, rounded up; None for other values."""
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        return None
    if isinstance(claim, int):
        return claim * 1000
    seconds = min(max(claim, -_LATEST_SECONDS), _LATEST_SECONDS)
    return ceil(round(seconds * 1000, 2))  # a double is not exact to the microsecond, and `ceil` would add 1 ms
