"""Public keys of companies as JSON Web Keys (RFC 7517): Ed25519 (RFC 8037) and P-256 (RFC 7518 section 6.2)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.bindings import crypto_core_ed25519_is_valid_point

from worker.messages.signature import from_base64url, to_base64url

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey

PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
ALGORITHMS: Mapping[str, tuple[str, ...]] = {"Ed25519": ("EdDSA", "Ed25519"), "P-256": ("ES256",)}
"""By curve: the one of RFC 8037, its name since RFC 9864, and ECDSA."""

_TYPES = {"OKP": "Ed25519", "EC": "P-256"}
_COORDINATE = re.compile(r"[A-Za-z0-9_-]{43}")
_PRIME_P_256 = 2**256 - 2**224 + 2**192 + 2**96 - 1


class NotAKey(ValueError):
    """No public key that we take: at which member, None for all of them; no member's value is repeated."""

    def __init__(self, member: str | None, expected: str) -> None:
        super().__init__(f"Expected {expected}")
        self.member = member


@dataclass(frozen=True, slots=True)
class SigningJwk:
    """A checked public key: its thumbprint, and its required members in the order of RFC 7638."""

    key_id: str
    members: Mapping[str, str]


def read_jwk(jwk: object) -> SigningJwk:
    """The key in a JWK; members that say nothing of it are dropped. Raises `NotAKey`."""
    if not isinstance(jwk, dict):
        raise NotAKey(None, "a public key as a JWK, an object")
    for name in PRIVATE_MEMBERS:
        if name in jwk:
            raise NotAKey(
                name, "a public key, got a member of a private one: make another key, this one is no secret now"
            )
    curve = _TYPES.get(kty) if isinstance(kty := jwk.get("kty"), str) else None
    if curve is None:
        raise NotAKey("kty", "OKP (for Ed25519) or EC (for P-256)")
    if jwk.get("crv") != curve:
        raise NotAKey("crv", curve)
    names = ("x",) if curve == "Ed25519" else ("x", "y")
    for name in names:
        _bytes_of(jwk, name)
    members = {"crv": curve, "kty": kty, **{name: jwk[name] for name in names}}
    public_key(members)
    return _consistent(jwk, SigningJwk(thumbprint(members), members))


def _consistent(jwk: Mapping[str, object], read: SigningJwk) -> SigningJwk:
    """With what the JWK says about itself."""
    fitting = ALGORITHMS[read.members["crv"]]
    if jwk.get("alg", fitting[0]) not in fitting:
        raise NotAKey("alg", " or ".join(fitting))
    if jwk.get("use", "sig") != "sig":
        raise NotAKey("use", "sig")
    if jwk.get("kid", read.key_id) != read.key_id:
        raise NotAKey("kid", f"the key's SHA-256 thumbprint (RFC 7638), {read.key_id}")
    return read


def thumbprint(members: Mapping[str, str]) -> str:
    """RFC 7638, of the required members."""
    text = json.dumps(dict(sorted(members.items())), separators=(",", ":"))
    return to_base64url(sha256(text.encode("ascii")).digest()).decode("ascii")


def public_key(members: Mapping[str, str]) -> PublicKey:
    """The key that verifies signatures. Raises `NotAKey` where its point cannot come from a private key."""
    x = _bytes_of(members, "x")
    if members["crv"] == "Ed25519":
        # OpenSSL takes any 32 bytes. But anybody can sign for a point of small order, and libraries disagree about
        # signatures of points that have such a part.
        if not crypto_core_ed25519_is_valid_point(x):
            raise NotAKey("x", "a point of prime order on the curve Ed25519")
        return Ed25519PublicKey.from_public_bytes(x)
    point = {"x": int.from_bytes(x), "y": int.from_bytes(_bytes_of(members, "y"))}
    for name, coordinate in point.items():
        if coordinate >= _PRIME_P_256:  # OpenSSL takes it modulo the prime: one point would have two thumbprints
            raise NotAKey(name, "a coordinate below the prime of P-256's field")
    try:
        return EllipticCurvePublicNumbers(point["x"], point["y"], SECP256R1()).public_key()
    except ValueError:
        raise NotAKey(None, "a point on the curve P-256") from None


def members_of(key: PublicKey) -> dict[str, str]:
    """The required members of a key's JWK."""
    if isinstance(key, Ed25519PublicKey):
        return {"crv": "Ed25519", "kty": "OKP", "x": to_base64url(key.public_bytes_raw()).decode("ascii")}
    numbers = key.public_numbers()
    x, y = (to_base64url(one.to_bytes(32)).decode("ascii") for one in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def _bytes_of(jwk: Mapping[str, object], name: str) -> bytes:
    text = jwk.get(name)
    data = from_base64url(text.encode("ascii")) if isinstance(text, str) and _COORDINATE.fullmatch(text) else None
    if data is None:
        raise NotAKey(name, "32 bytes in base64url without padding, 43 characters")
    return data
