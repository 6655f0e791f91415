"""Reads key sets (JWKS, RFC 7517): the public keys in them that may verify access tokens, by id."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWTError
from jwt.algorithms import AllowedPublicKeys

MIN_RSA_BITS = 2048

_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVE_ALGORITHMS = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
# Asymmetric signatures only: a public key must never serve as an HMAC secret (RFC 8725 section 2.1).
ALGORITHMS = frozenset({*_RSA_ALGORITHMS, *(name for names in _CURVE_ALGORITHMS.values() for name in names)})
_PUBLIC_MEMBERS = frozenset({"kty", "crv", "n", "e", "x", "y"})


@dataclass(frozen=True, slots=True, eq=False)
class VerificationKey:
    """A public key and the algorithms that fit it. The object stays the same as long as the key set does."""

    public_key: AllowedPublicKeys
    algorithms: tuple[str, ...]


class NotAKeySet(ValueError):
    """The document is no JWKS. The text says why."""


def read_keys(document: bytes) -> dict[str, VerificationKey]:
    """The usable keys of a JWKS, by id. Other entries are skipped. Raises `NotAKeySet`."""
    return {key_id: key for key_id, _, key in _usable(document)}


def public_key_set(document: bytes) -> bytes:
    """The same keys as a JWKS in ASCII that holds nothing else. Raises `NotAKeySet`."""
    kept = {"kid", "alg", *_PUBLIC_MEMBERS}
    keys = [{name: entry[name] for name in sorted(kept & entry.keys())} for _, entry, _ in _usable(document)]
    return json.dumps({"keys": keys}).encode("ascii")


def _usable(document: bytes) -> Iterator[tuple[str, Mapping[str, object], VerificationKey]]:
    """Id, entry and key of each entry that may verify signatures."""
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError):
        raise NotAKeySet("Expected a JWKS, got no JSON") from None
    entries = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        raise NotAKeySet("Expected a JWKS, got no list of keys")
    for entry in entries:
        key = _verification_key(entry) if isinstance(entry, dict) else None
        if key is not None and isinstance(entry.get("kid"), str):
            yield entry["kid"], entry, key


def _verification_key(entry: Mapping[str, object]) -> VerificationKey | None:
    """The key of a JWK that may verify signatures; None for one that is unknown, for encryption, symmetric or weak."""
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    named = entry.get("alg")
    algorithms = tuple(name for name in _algorithms(entry) if named is None or name == named)
    if not algorithms:
        return None
    public = {name: value for name, value in entry.items() if name in _PUBLIC_MEMBERS}  # drops a leaked private half
    try:
        public_key = PyJWK(public, algorithms[0]).key
    except (PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        return None
    if isinstance(public_key, RSAPublicKey) and public_key.key_size < MIN_RSA_BITS:  # RFC 7518 section 3.3
        return None
    return VerificationKey(public_key, algorithms)


def _algorithms(entry: Mapping[str, object]) -> tuple[str, ...]:
    key_type, curve = entry.get("kty"), entry.get("crv")
    if key_type == "RSA":
        return _RSA_ALGORITHMS
    if isinstance(key_type, str) and isinstance(curve, str):
        return _CURVE_ALGORITHMS.get((key_type, curve), ())
    return ()
