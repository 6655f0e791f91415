"""Signs commands with a private key, as producers do."""

import json
from collections.abc import Callable, Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from worker.auth.public_keys import ALGORITHMS
from worker.messages.envelope import is_structured_cloud_event
from worker.messages.events import Header
from worker.messages.signature import HEADER, STRUCTURED, TYPE, digest_text, to_base64url
from worker.tools.common.jwk import SigningJwk, members_of, read_jwk

# Seconds from signing to `exp`: enough for a producer's retries, and far below the allowed 24 hours.
LIFETIME_SECONDS = 3_600

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey

# Functions that generate a private key, by algorithm.
GENERATORS: dict[str, Callable[[], PrivateKey]] = {
    "EdDSA": Ed25519PrivateKey.generate,
    "ES256": lambda: generate_private_key(SECP256R1()),
}


class NotASigningKey(ValueError):
    """The file holds no private key that can sign commands; the text says what was expected."""


class Signer:
    """Signs for one audience: the worker's `PASSPORT_SIGNATURE_AUDIENCE`, or by default its topic."""

    def __init__(self, private: PrivateKey, audience: str) -> None:
        self._private, self._audience = private, audience
        self.jwk: SigningJwk = read_jwk(members_of(private.public_key()))
        protected = {"alg": ALGORITHMS[self.jwk.members["crv"]][0], "kid": self.jwk.key_id, "typ": TYPE}
        self._protected = _part(protected)

    @classmethod
    def from_pem(cls, pem: bytes, audience: str) -> "Signer":
        """Read a PEM file without a passphrase, of Ed25519 or P-256. Raises `NotASigningKey`."""
        try:
            private = load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise NotASigningKey("Expected a private key in PEM without a passphrase") from None
        if isinstance(private, Ed25519PrivateKey) or (
            isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1)
        ):
            return cls(private, audience)
        raise NotASigningKey("Expected a private key of Ed25519 or P-256")

    def headers(self, value: bytes, key: str | None, content_type: bytes | None, at: float) -> list[Header]:
        """The header for a record of this value, idempotency key and content type, signed at Unix seconds `at`."""
        return [(HEADER, self.sign(self.claims(value, key, content_type, at)))]

    def claims(self, value: bytes, key: str | None, content_type: bytes | None, at: float) -> dict[str, object]:
        """The claims about such a record, valid for an hour from `at` on."""
        claims: dict[str, object] = {"aud": self._audience, "exp": int(at) + LIFETIME_SECONDS}
        if key is not None:
            claims["key"] = key
        if is_structured_cloud_event([content_type]):
            claims["ct"] = STRUCTURED
        return {**claims, "sha256": digest_text(value)}

    def sign(self, claims: dict[str, object]) -> bytes:
        """A compact JWS of these claims."""
        signed = self._protected + b"." + _part(claims)
        if isinstance(self._private, Ed25519PrivateKey):
            signature = self._private.sign(signed)
        else:
            # A JWS has both numbers side by side (RFC 7518, section 3.4), and OpenSSL makes DER.
            r, s = decode_dss_signature(self._private.sign(signed, ECDSA(SHA256())))
            signature = r.to_bytes(32) + s.to_bytes(32)
        return signed + b"." + to_base64url(signature)


def generate_pem(algorithm: str) -> bytes:
    """A new private key in PEM (PKCS #8), for one of `GENERATORS`."""
    return GENERATORS[algorithm]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _part(members: Mapping[str, object]) -> bytes:
    return to_base64url(json.dumps(members, separators=(",", ":")).encode("ascii"))
