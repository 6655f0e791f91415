"""Public keys that verify signatures of commands: Ed25519 (RFC 8037) and P-256 (RFC 7518 section 6.2), from JWKs."""

import re
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey, EllipticCurvePublicNumbers
from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.signing import VerifyKey

from worker.messages.signature import from_base64url

# Two libraries: libsodium verifies Ed25519 in two thirds of OpenSSL's time, but does not know P-256.
PublicKey = VerifyKey | EllipticCurvePublicKey

# By curve. EdDSA is the name of RFC 8037, Ed25519 that of RFC 9864.
ALGORITHMS: Mapping[str, tuple[str, ...]] = {"Ed25519": ("EdDSA", "Ed25519"), "P-256": ("ES256",)}

_COORDINATE = re.compile(r"[A-Za-z0-9_-]{43}")
_PRIME_P_256 = 2**256 - 2**224 + 2**192 + 2**96 - 1


class NotAKey(ValueError):
    """A JWK that the worker does not accept. `member` names the wrong one, if only one is. The text quotes no value."""

    def __init__(self, member: str | None, expected: str) -> None:
        super().__init__(f"Expected {expected}")
        self.member = member


def public_key(jwk: Mapping[str, object]) -> PublicKey:
    """The key of a JWK whose curve is in `ALGORITHMS`. Raises `NotAKey` if no private key can have this point."""
    x = _coordinate(jwk, "x")
    if jwk["crv"] == "Ed25519":
        # Libraries accept any 32 bytes. But anybody can sign for a point of small order, and libraries disagree about
        # signatures for points with such a component.
        if not crypto_core_ed25519_is_valid_point(x):
            raise NotAKey("x", "a point of prime order on the curve Ed25519")
        return VerifyKey(x)
    point = {"x": int.from_bytes(x), "y": int.from_bytes(_coordinate(jwk, "y"))}
    for name, coordinate in point.items():
        if coordinate >= _PRIME_P_256:  # OpenSSL takes it modulo the prime: one point would have two thumbprints
            raise NotAKey(name, "a coordinate below the prime of P-256's field")
    try:
        return EllipticCurvePublicNumbers(point["x"], point["y"], SECP256R1()).public_key()
    except ValueError:
        raise NotAKey(None, "a point on the curve P-256") from None


def _coordinate(jwk: Mapping[str, object], name: str) -> bytes:
    text = jwk.get(name)
    data = from_base64url(text.encode("ascii")) if isinstance(text, str) and _COORDINATE.fullmatch(text) else None
    if data is None:
        raise NotAKey(name, "32 bytes in base64url without padding, 43 characters")
    return data
