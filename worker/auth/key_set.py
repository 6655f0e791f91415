"""Reads key sets (JWKS, RFC 7517): the public keys in them that may verify access tokens, by id."""

import json
from collections import defaultdict
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
    """The public keys with one id, by algorithm. `SignedTokens` compares these by identity, so they have no `==`.

    Keys of different types may have one id where they are alternatives of each other (RFC 7517 section 4.5).
    """

    by_algorithm: Mapping[str, AllowedPublicKeys]


class NotAKeySet(ValueError):
    """The document is not a JWKS. The text says why."""


def read_keys(document: bytes) -> dict[str, VerificationKey]:
    """The usable keys of a JWKS, by id. Other entries are skipped. Raises `NotAKeySet`."""
    by_id = defaultdict[str, dict[str, AllowedPublicKeys]](dict)
    for key_id, _, keys in _usable(document):
        by_id[key_id] |= keys
    return {key_id: VerificationKey(keys) for key_id, keys in by_id.items()}


def public_key_set(document: bytes) -> bytes:
    """The usable keys as a JWKS in ASCII, without private members. Raises `NotAKeySet`."""
    kept = {"kid", "alg", *_PUBLIC_MEMBERS}
    keys = [{name: entry[name] for name in sorted(kept & entry.keys())} for _, entry, _ in _usable(document)]
    return json.dumps({"keys": keys}).encode("ascii")


def _usable(document: bytes) -> Iterator[tuple[str, Mapping[str, object], dict[str, AllowedPublicKeys]]]:
    """The id, entry and key, by its algorithms, of each entry that may verify signatures."""
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError):
        raise NotAKeySet("Expected a JWKS, got no JSON") from None
    entries = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        raise NotAKeySet("Expected a JWKS, got no list of keys")
    for entry in entries:
        keys = _by_algorithm(entry) if isinstance(entry, dict) else {}
        if keys and isinstance(entry.get("kid"), str):
            yield entry["kid"], entry, keys


def _by_algorithm(entry: Mapping[str, object]) -> dict[str, AllowedPublicKeys]:
    """The key of a JWK, by its algorithms; empty if the key is unknown, symmetric, weak or for encryption."""
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return {}
    named = entry.get("alg")
    algorithms = tuple(name for name in _algorithms(entry) if named is None or name == named)
    if not algorithms:
        return {}
    public = {name: value for name, value in entry.items() if name in _PUBLIC_MEMBERS}  # drops a leaked private half
    try:
        public_key = PyJWK(public, algorithms[0]).key
    except (PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        return {}
    if isinstance(public_key, RSAPublicKey) and public_key.key_size < MIN_RSA_BITS:  # RFC 7518 section 3.3
        return {}
    return dict.fromkeys(algorithms, public_key)


def _algorithms(entry: Mapping[str, object]) -> tuple[str, ...]:
    key_type, curve = entry.get("kty"), entry.get("crv")
    if key_type == "RSA":
        return _RSA_ALGORITHMS
    if isinstance(key_type, str) and isinstance(curve, str):
        return _CURVE_ALGORITHMS.get((key_type, curve), ())
    return ()
