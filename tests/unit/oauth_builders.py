"""Keys, key sets and tokens of an authorization server, for the tests of OAuth."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://login.example.eu/"
AUDIENCE = "passports"
COMPANY = "6650a0b1c2d3e4f5a6b7c8d9"
CLAIMS: Mapping[str, object] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "exp": 1_778_324_400,
    "company_id": COMPANY,
    "scope": "openid passports:write",
}

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


@dataclass
class Clock:
    """A monotonic clock that stands still until it is told."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.seconds


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """A new RSA key."""
    return rsa.generate_private_key(65537, bits)


def jwk(private: Private, key_id: str, **members: object) -> dict[str, object]:
    """The public half of a key as a JWK."""
    public = private.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        entry = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        entry = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        entry = OKPAlgorithm.to_jwk(public, as_dict=True)
    return {"kid": key_id, **{name: entry[name] for name in entry if name != "key_ops"}, **members}


def key_set(*entries: object) -> bytes:
    """A JWKS document."""
    return json.dumps({"keys": entries}).encode()


def token(private: Private, algorithm: str, key_id: str | None, *, type_: object = "at+jwt", **changes: object) -> str:
    """A signed token; a change to None leaves the claim out, and so does a type of None."""
    body = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    headers = {"typ": type_, **({} if key_id is None else {"kid": key_id})}
    return jwt.PyJWS().encode(json.dumps(body).encode(), private, algorithm, headers)  # jwt.encode checks the claims
