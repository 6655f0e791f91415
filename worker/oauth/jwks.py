"""The authorization server's public keys (JWKS, RFC 7517), from a URL or a file, read again as they rotate."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

import aiohttp
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWTError
from jwt.algorithms import AllowedPublicKeys

log = structlog.get_logger(__name__)

MAX_AGE_SECONDS = 600.0
"""A key that the server no longer publishes disappears after this."""
UNKNOWN_KEY_SECONDS = 10.0
"""Unknown key ids make us read again, but not more often than this: anybody can invent one."""
FAILED_SECONDS = 1.0
"""After a failed read, tokens of unknown keys wait at least this long for the next."""
STALE_SECONDS = 10.0
"""After a failed read, tokens of known keys go on with them this long, so that a hanging server is not in their way."""
PATIENCE_SECONDS = 0.25
"""A read that takes longer goes on in the background; a token of an unknown key waits for it, in its lane."""
MAX_BYTES = 1024 * 1024
MIN_RSA_BITS = 2048

_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVE_ALGORITHMS = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
ALGORITHMS = frozenset({*_RSA_ALGORITHMS, *(name for names in _CURVE_ALGORITHMS.values() for name in names)})
"""Asymmetric signatures only: a public key must never serve as an HMAC secret (RFC 8725 section 2.1)."""
_PUBLIC_MEMBERS = frozenset({"kty", "crv", "n", "e", "x", "y"})


class KeysUnavailable(Exception):
    """The keys cannot be read now, and the one that is needed is not among those read before. Wait and try again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class VerificationKey:
    """A public key and the algorithms that fit it. The same object for as long as the key set does not change."""

    public_key: AllowedPublicKeys
    algorithms: tuple[str, ...]


class _NotAKeySet(ValueError):
    """What was read is no JWKS; the text says why."""


class JwksSource:
    """Keys by id. `location` is an http(s) URL or a path; `now` is a monotonic clock in seconds.

    `tell` is told of each read whether it was good.
    """

    def __init__(
        self,
        location: str,
        now: Callable[[], float] = time.monotonic,
        *,
        timeout_seconds: float = 3.0,
        tell: Callable[[bool], None] = lambda good: None,
    ) -> None:
        self._location = location
        self._tell = tell
        self._now = now
        self._timeout_seconds = timeout_seconds
        self._reading: asyncio.Task[None] | None = None
        self._began_at = -inf
        self._document = b""
        self._keys: Mapping[str, VerificationKey] = {}
        self._tried_at = -inf
        self._problem: str | None = None

    async def key(self, key_id: str) -> VerificationKey | None:
        """The key of that id, or None where a key set that was just read has no such key.

        Raises `KeysUnavailable` when the key set cannot be read and no earlier one had the key.
        """
        if not self._is_settled(key_id):
            await self._read_anew()
        key = self._keys.get(key_id)
        if key is None and not self._is_settled(key_id):
            raise KeysUnavailable("The keys are being read")
        if key is None and self._problem is not None:
            raise KeysUnavailable(self._problem)
        return key

    async def read_now(self) -> int:
        """Read the key set, however new the last one is; the number of keys that can be used.

        Raises `KeysUnavailable` when it cannot be read.
        """
        await self._refresh()
        if self._problem is not None:
            raise KeysUnavailable(self._problem)
        return len(self._keys)

    async def _read_anew(self) -> None:
        """For a moment only: all commands of a turn wait for this one, also those that need no key of the server's."""
        if self._reading is None or self._reading.done():
            self._reading, self._began_at = asyncio.create_task(self._refresh()), time.monotonic()
        patience = self._began_at + PATIENCE_SECONDS - time.monotonic()
        await asyncio.wait({self._reading}, timeout=max(0.0, patience))
        if self._reading.done():
            self._reading.result()

    def _is_settled(self, key_id: str) -> bool:
        """Whether the last read is recent enough to answer for this key."""
        if self._problem is None:
            patience = MAX_AGE_SECONDS if key_id in self._keys else UNKNOWN_KEY_SECONDS
        else:
            patience = STALE_SECONDS if key_id in self._keys else FAILED_SECONDS
        return self._now() - self._tried_at < patience

    async def _refresh(self) -> None:
        try:
            document = await self._read()
            if document != self._document:
                self._keys = read_keys(document)
                self._document = document
                log.info("jwks_changed", keys=len(self._keys))
            self._problem = None
        except _NotAKeySet as error:
            self._problem = str(error)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The kind of failure only: its text may quote a URL that holds a password.
            self._problem = f"Expected a readable JWKS, got {type(error).__name__}"
        if self._problem is not None:
            log.warning("jwks_unavailable", reason=self._problem)
        self._tell(self._problem is None)
        self._tried_at = self._now()

    async def _read(self) -> bytes:
        if self._location.lower().startswith(("http://", "https://")):
            return await self._download()
        return await asyncio.to_thread(_read_file, self._location)

    async def _download(self) -> bytes:
        timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._location) as response:
            if response.status != 200:
                raise _NotAKeySet(f"Expected a JWKS, got HTTP status {response.status}")
            document = bytearray()
            async for chunk in response.content.iter_any():
                document += chunk
                _check_size(len(document))
            return bytes(document)


def _read_file(path: str) -> bytes:
    with Path(path).open("rb") as file:
        document = file.read(MAX_BYTES + 1)
    _check_size(len(document))
    return document


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise _NotAKeySet(f"Expected a JWKS of at most {MAX_BYTES} bytes")


def read_keys(document: bytes) -> dict[str, VerificationKey]:
    """The usable keys of a JWKS by id; the others are skipped. Raises ValueError where it is no JWKS."""
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError):
        raise _NotAKeySet("Expected a JWKS, got no JSON") from None
    entries = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        raise _NotAKeySet("Expected a JWKS, got no list of keys")
    keys = {}
    for entry in entries:
        key = _verification_key(entry) if isinstance(entry, dict) else None
        if key is not None and isinstance(entry.get("kid"), str):
            keys[entry["kid"]] = key
    return keys


def _verification_key(entry: Mapping[str, object]) -> VerificationKey | None:
    """The key of a JWK that may verify signatures, or None: unknown type, encryption, symmetric, weak or broken."""
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
