"""Signing keys of companies as JSON Web Keys (RFC 7517): checks the JWKs that people provide, and writes new ones."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from worker.auth.public_keys import ALGORITHMS, NotAKey, public_key
from worker.messages.signature import to_base64url

PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_CURVES = {"OKP": "Ed25519", "EC": "P-256"}
_COORDINATES = {"Ed25519": ("x",), "P-256": ("x", "y")}


@dataclass(frozen=True, slots=True)
class SigningJwk:
    """A checked public key: its thumbprint, and its required members in the order of RFC 7638."""

    key_id: str
    members: Mapping[str, str]


def read_jwk(jwk: object) -> SigningJwk:
    """The key in a JWK, with its required members only. Raises `NotAKey`."""
    if not isinstance(jwk, dict):
        raise NotAKey(None, "a public key as a JWK, an object")
    for name in PRIVATE_MEMBERS:
        if name in jwk:
            raise NotAKey(
                name, "a public key, got a member of a private one: make another key, this one is no longer secret"
            )
    key_type = jwk.get("kty")
    curve = _CURVES.get(key_type) if isinstance(key_type, str) else None
    if curve is None:
        raise NotAKey("kty", "OKP (for Ed25519) or EC (for P-256)")
    if jwk.get("crv") != curve:
        raise NotAKey("crv", curve)
    members: dict[str, Any] = {"crv": curve, "kty": key_type, **{name: jwk.get(name) for name in _COORDINATES[curve]}}
    public_key(members)
    key_id = thumbprint(members)
    if jwk.get("alg", ALGORITHMS[curve][0]) not in ALGORITHMS[curve]:
        raise NotAKey("alg", " or ".join(ALGORITHMS[curve]))
    if jwk.get("use", "sig") != "sig":
        raise NotAKey("use", "sig")
    if jwk.get("kid", key_id) != key_id:
        raise NotAKey("kid", f"the key's SHA-256 thumbprint (RFC 7638), {key_id}")
    return SigningJwk(key_id, members)


def thumbprint(members: Mapping[str, str]) -> str:
    """RFC 7638, of the required members."""
    text = json.dumps(dict(sorted(members.items())), separators=(",", ":"))
    return to_base64url(sha256(text.encode("ascii")).digest()).decode("ascii")


def members_of(key: Ed25519PublicKey | EllipticCurvePublicKey) -> dict[str, str]:
    """The required members of a key's JWK."""
    if isinstance(key, Ed25519PublicKey):
        return {"crv": "Ed25519", "kty": "OKP", "x": _text(key.public_bytes_raw())}
    numbers = key.public_numbers()
    return {"crv": "P-256", "kty": "EC", "x": _text(numbers.x.to_bytes(32)), "y": _text(numbers.y.to_bytes(32))}


def _text(coordinate: bytes) -> str:
    return to_base64url(coordinate).decode("ascii")
