"""Signed commands by PyJWT, another implementation than ours, and a world that knows their key."""

import asyncio
import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.unit.builders import COMPANY, LIMITS, NOW_MS, TOPIC, as_json, body, facts, record
from worker.auth.signatures import Verifier
from worker.domain.catalogue import SigningKey
from worker.domain.decide import decide
from worker.domain.facts import Facts
from worker.domain.outcomes import Outcome
from worker.messages.envelope import Record, open_envelope
from worker.messages.events import Header
from worker.tools.common.jwk import members_of, read_jwk

PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey

RFC_8037 = Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
"""Appendix A.1."""
P_256 = generate_private_key(SECP256R1())
VALUE = as_json(body())
KEY = "order-4711-unit-1"
NOW = NOW_MS // 1000


def key_id(key: PrivateKey) -> str:
    """The thumbprint that its signatures name."""
    return read_jwk(members_of(key.public_key())).key_id


def claims(**changes: object) -> dict[str, Any]:
    """Those of a record of `VALUE` under `KEY`; None leaves one out."""
    text = urlsafe_b64encode(sha256(VALUE).digest()).rstrip(b"=").decode()
    right = {"aud": TOPIC, "exp": NOW + 3600, "key": KEY, "sha256": text, **changes}
    return {name: value for name, value in right.items() if value is not None}


def jws(told: object = None, key: PrivateKey = RFC_8037, **header: object) -> str:
    """A compact JWS of claims, or of anything; `header` replaces members, None leaves one out."""
    algorithm = "EdDSA" if isinstance(key, Ed25519PrivateKey) else "ES256"
    protected = {"kid": key_id(key), "typ": "dpp-command+jwt", **header}
    named = {name: value for name, value in protected.items() if value is not None or name == "typ"}
    payload = told if isinstance(told, bytes) else json.dumps(claims() if told is None else told).encode()
    return jwt.PyJWS().encode(payload, key, algorithm=algorithm, headers=named)


def signed(signature: str | bytes | None, *others: Header, value: bytes = VALUE, at_ms: int = NOW_MS) -> Record:
    """A record with that signature and `KEY`, unless other headers are given."""
    header = signature.encode() if isinstance(signature, str) else signature
    rest = others or (("idempotency-key", KEY.encode()),)
    return record(value, [("jws-signature", header), *rest], timestamp_ms=at_ms)


def known(*keys: PrivateKey, **changes: object) -> Facts:
    """A world whose company has these keys, else both kinds."""
    world = facts()
    for key in keys or (RFC_8037, P_256):
        jwk = read_jwk(members_of(key.public_key()))
        grant = {"company_id": COMPANY, "not_before_ms": None, "revoked_ms": None, **changes}
        world.signing_keys[jwk.key_id] = SigningKey(jwk=json.dumps(jwk.members), **grant)  # type: ignore[arg-type]
    return world


def judge(
    one: Record, world: Facts | None = None, verifier: Verifier | None = None, audience: str | None = None
) -> Outcome:
    """By door, proofs and rules, as a worker does."""
    world = known() if world is None else world
    command = open_envelope(one, LIMITS, audience).command
    asyncio.run((verifier or Verifier()).make_ready([command], world))
    return decide(command, world)
