"""Signed commands: each company has a key of both kinds, and signs for an hour."""

import json
import time
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.benchmark.catalogue import product
from tests.benchmark.commands import BenchCommand
from worker.tools.common.signer import Signer

ALGORITHMS = ("EdDSA", "ES256")


@lru_cache(256)
def _signer(api_key: str, algorithm: str, audience: str) -> Signer:
    seed = sha256(api_key.encode()).digest()
    if algorithm == "EdDSA":
        return Signer(Ed25519PrivateKey.from_private_bytes(seed), audience)
    return Signer(derive_private_key(int.from_bytes(seed[:31]), SECP256R1()), audience)


async def add_signing_keys(connection: "asyncpg.Connection[asyncpg.Record]", companies: int) -> None:
    """Of the first companies."""
    for company in map(product, range(companies)):
        for algorithm in ALGORITHMS:
            jwk = _signer(company.api_key, algorithm, "").jwk
            row = (jwk.key_id, company.company_id, json.dumps(jwk.members))
            await connection.execute("INSERT INTO signing_key VALUES ($1, $2, $3, 'bench')", *row)


def signed(one: BenchCommand, algorithm: str, audience: str) -> BenchCommand:
    """The same command, with a signature in place of its API key."""
    (_, bearer), (_, key) = one.headers
    signer = _signer(bearer.removeprefix(b"Bearer ").decode(), algorithm, audience)
    ((name, signature),) = signer.headers(one.value, key.decode(), None, time.time())
    assert signature is not None
    return replace(one, headers=[(name, signature), *one.headers[1:]])
