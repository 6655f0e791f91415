"""Signed commands for the workbench: each tenant has a signing key, which the database knows."""

import json
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.workbench import Tenant, Workbench
from worker.messages.events import Header
from worker.tools.common.signer import Signer


def signer_of(one: Tenant, audience: str) -> Signer:
    """The tenant's own, the same each time."""
    return Signer(Ed25519PrivateKey.from_private_bytes(sha256(one.api_key.encode()).digest()), audience)


async def add_signing_key(bench: Workbench, one: Tenant) -> None:
    """As the catalogue would."""
    jwk = signer_of(one, "").jwk
    connection = await bench.connect()
    await connection.execute(
        "INSERT INTO signing_key VALUES ($1, $2, $3, 'test')", jwk.key_id, one.company_id, json.dumps(jwk.members)
    )
    await connection.close()


def signed(command: Mapping[str, Any], signer: Signer, at: float | None = None, **claims: object) -> dict[str, Any]:
    """The same command, with a signature in place of its credentials; `claims` are told in place of the right ones."""
    others: list[Header] = [header for header in command["headers"] if header[0].lower() != "authorization"]
    found = dict(others)
    key, content_type = found.get("idempotency-key"), found.get("content-type")
    text = None if key is None else key.decode()
    told = {**signer.claims(command["value"], text, content_type, time.time() if at is None else at), **claims}
    signature = signer.sign({name: claim for name, claim in told.items() if claim is not None})
    return {**command, "headers": [("jws-signature", signature), *others]}
