"""Verifies signatures of commands, with the signing keys that the look-up has read."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from worker.auth.public_keys import ALGORITHMS, NotAKey, PublicKey, public_key
from worker.domain.command import Command, Signature
from worker.domain.credentials import problem_before_proof
from worker.domain.facts import Facts

# Proofs are remembered, since a turn that fails runs again. Each takes a few hundred bytes.
REMEMBERED = 8_192
# Verifying this many takes some 6 ms. Then other tasks get a chance, since heartbeats must not be late.
AT_ONCE = 100
_SIGNATURE_BYTES = 64
_ES256 = ECDSA(SHA256())


@dataclass(frozen=True, slots=True, eq=False)
class _Key:
    """A public key and the algorithms that fit it. `Verifier` compares these objects by identity."""

    public: PublicKey | None
    algorithms: tuple[str, ...]


@lru_cache(maxsize=4_096)
def _key(jwk: str) -> _Key:
    members = json.loads(jwk)
    try:
        return _Key(public_key(members), ALGORITHMS[members["crv"]])
    except NotAKey:  # an earlier version stored it under a weaker check: refuse its signatures, and go on
        return _Key(None, ())


class Verifier:
    """Verifies signatures, and remembers the right ones.

    A proof holds for a whole header under one key. The claims are still compared with each record.
    """

    def __init__(self) -> None:
        self._proofs: OrderedDict[bytes, _Key] = OrderedDict()

    async def make_ready(self, commands: Sequence[Command], facts: Facts) -> None:
        """Add the right signatures to `facts.proven`. Commands that a cheaper check refuses are not verified."""
        verified = 0
        for command in commands:
            signature = command.credentials
            if isinstance(signature, Signature) and self.prove(signature, command.source.appended_ms, facts):
                verified += 1
                if verified % AT_ONCE == 0:
                    await asyncio.sleep(0)

    def prove(self, signature: Signature, appended_ms: int, facts: Facts) -> bool:
        """Add a signature to `facts.proven` if it is right. Returns whether it took a verification to know."""
        if problem_before_proof(signature, appended_ms, facts) is not None:
            return False
        key = _key(facts.signing_keys[signature.key_id].jwk)
        # Somebody may have stored another key under the same id. The old proof says nothing about that one.
        if self._proofs.get(signature.digest) is key:
            self._proofs.move_to_end(signature.digest)
            facts.proven.add(signature.digest)
            return False
        # Only right signatures are remembered: forgeries must not push proofs out.
        if is_right(signature, key):
            facts.proven.add(signature.digest)
            self._proofs[signature.digest] = key
            if len(self._proofs) > REMEMBERED:
                self._proofs.popitem(last=False)
        return True


def is_right(signature: Signature, key: _Key) -> bool:
    """Whether the key made this signature. The key decides which algorithms fit (RFC 8725 section 3.1)."""
    # The length rules out ECDSA signatures in ASN.1, which some programs write (RFC 7518 section 3.4).
    if key.public is None or signature.algorithm not in key.algorithms or len(signature.signature) != _SIGNATURE_BYTES:
        return False
    try:
        if isinstance(key.public, VerifyKey):
            key.public.verify(signature.signed, signature.signature)
        else:  # R and S, each of 32 bytes (RFC 7518 section 3.4)
            r, s = int.from_bytes(signature.signature[:32]), int.from_bytes(signature.signature[32:])
            key.public.verify(encode_dss_signature(r, s), signature.signed, _ES256)
    except (InvalidSignature, BadSignatureError):
        return False
    return True
