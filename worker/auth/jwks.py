"""The authorization server's public keys (JWKS, RFC 7517), from a URL or a file, read again as they rotate."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Protocol

import aiohttp
import structlog

from worker.auth.bounded_body import read_bounded
from worker.auth.key_set import NotAKeySet, VerificationKey, public_key_set, read_keys

log = structlog.get_logger(__name__)

# A key that the server no longer publishes is forgotten after this.
MAX_AGE_SECONDS = 600.0
# An unknown key id starts another read, but no more often than this: anybody can invent one.
UNKNOWN_KEY_SECONDS = 10.0
# After a failed read, tokens of unknown keys wait at least this long for the next one.
FAILED_SECONDS = 1.0
# After a failed read, known keys are used this long without another read, so that a hanging server delays nobody.
STALE_SECONDS = 10.0
# A read that takes longer continues in the background, and a token of an unknown key waits in its lane.
PATIENCE_SECONDS = 0.25
# In an outage of the server, tokens of unknown keys wait until this long after the first of them came. A waiting lane
# looks again after a second and `PATIENCE_SECONDS`, so that no command waits for longer than 10 s.
WAIT_SECONDS = 8.0
# Pause between reads during an outage in which tokens have waited.
WATCH_SECONDS = 5.0
# How long Postgres may take to load or save the kept key set.
KEPT_SECONDS = 5.0
MAX_BYTES = 1024 * 1024


class KeysUnavailable(Exception):
    """The keys cannot be read now, and no earlier key set had the one that is needed.

    Wait and try again, unless `is_given_up`: tokens have waited long enough in this outage.
    """

    def __init__(self, reason: str, *, is_given_up: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_given_up = is_given_up


class KeptKeys(Protocol):
    """Keeps the last good key set, for a start while the server is away. Both methods may raise any exception."""

    async def load(self) -> bytes | None:
        """The key set that some worker kept last; None if none was kept."""
        ...

    async def save(self, document: bytes) -> None:
        """Replace the kept key set. The new one holds public keys only."""
        ...


@dataclass(frozen=True, slots=True)
class _LastRead:
    """The newest key set that could be read; when the last attempt ended, and its `problem` if it failed."""

    document: bytes = b""
    keys: Mapping[str, VerificationKey] = field(default_factory=dict)
    at: float = -inf
    problem: str | None = None

    def is_settled(self, key_id: str, now: float) -> bool:
        """Whether the last attempt is recent enough to answer for this key."""
        is_known = key_id in self.keys
        if self.problem is None:
            patience = MAX_AGE_SECONDS if is_known else UNKNOWN_KEY_SECONDS
        else:
            patience = STALE_SECONDS if is_known else FAILED_SECONDS
        return now - self.at < patience


class JwksSource:
    """Keys by id. `location` is an http(s) URL or a path; `now` is a monotonic clock in seconds.

    `on_read` is called after each read, with whether it succeeded. `kept` has keys that an earlier process read. They
    count until this process has read some.
    """

    def __init__(
        self,
        location: str,
        now: Callable[[], float] = time.monotonic,
        *,
        timeout_seconds: float = 3.0,
        on_read: Callable[[bool], None] = lambda good: None,
        kept: KeptKeys | None = None,
    ) -> None:
        self._location = location
        self._timeout_seconds = timeout_seconds
        self._now = now
        self._on_read = on_read
        self._kept = None if kept is None else _Keeper(kept)
        self._last = _LastRead()
        self._reading: asyncio.Task[None] | None = None
        self._patience_ends_at = -inf
        # Since when tokens of unknown keys have waited for a server that does not answer; None if none waits.
        self._waiting_since: float | None = None

    async def key(self, key_id: str) -> VerificationKey | None:
        """The key with this id; None if a key set that was just read has no such key. Raises `KeysUnavailable`."""
        if not self._last.is_settled(key_id, self._now()):
            # A short wait, since all commands of a turn wait here, even those without a token.
            reading = self._read_in_background()
            await asyncio.wait({reading}, timeout=max(0.0, self._patience_ends_at - time.monotonic()))
            if reading.done():
                reading.result()
        key = self._last.keys.get(key_id)
        if key is None and not self._last.is_settled(key_id, self._now()):
            raise self._unavailable("The keys are being read")
        if key is None and self._last.problem is not None:
            raise self._unavailable(self._last.problem)
        return key

    async def read_now(self) -> int:
        """Read the key set now, and return the number of usable keys. Raises `KeysUnavailable` if that fails."""
        await self._read()
        if self._last.problem is not None:
            raise KeysUnavailable(self._last.problem)
        return len(self._last.keys)

    async def watch(self) -> None:
        """While tokens wait or are refused, read again until the server answers. Runs until it is cancelled."""
        # Otherwise only tokens would start reads, and the first token after a long outage would be refused.
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._waiting_since is not None:
                await asyncio.wait({self._read_in_background()})

    def _unavailable(self, reason: str) -> KeysUnavailable:
        """The error for a token whose key cannot be read. The first one in an outage starts the wait of all."""
        if self._waiting_since is None:
            self._waiting_since = self._now()
        return KeysUnavailable(reason, is_given_up=self._now() - self._waiting_since >= WAIT_SECONDS)

    def _read_in_background(self) -> asyncio.Task[None]:
        """The read that is running, or a new one."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
            self._patience_ends_at = time.monotonic() + PATIENCE_SECONDS
        return self._reading

    async def _read(self) -> None:
        if self._kept is not None and not self._last.document:
            recalled = await self._kept.recall()
            if recalled is not None:
                self._last = replace(self._last, keys=recalled)
        document, keys, problem = self._last.document, self._last.keys, None
        try:
            document = await _read_document(self._location, self._timeout_seconds)
            # The same document keeps the same key objects, by which verified tokens are remembered.
            if document != self._last.document:
                keys = read_keys(document)
                log.info("jwks_changed", keys=len(keys))
            self._waiting_since = None
        except NotAKeySet as error:
            # Keep the earlier keys: a proxy's error page with status 200 must not make them unknown.
            document, problem = self._last.document, str(error)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Only the type of the failure: its text may quote a URL that holds a password.
            problem = f"Expected a readable JWKS, got {type(error).__name__}"
        if problem is not None:
            log.warning("jwks_unavailable", reason=problem)
        self._on_read(problem is None)
        self._last = _LastRead(document, keys, self._now(), problem)
        if self._kept is not None:
            await self._kept.save(document)


class _Keeper:
    """Recalls the kept key set once, and saves each new one. After a failure it tries again at the next read."""

    def __init__(self, kept: KeptKeys) -> None:
        self._kept = kept
        self._is_recalled = False
        self._saved = b""

    async def recall(self) -> Mapping[str, VerificationKey] | None:
        """The kept keys, once, so that a start does not need the server; None if none can be loaded."""
        if self._is_recalled:
            return None
        try:
            async with asyncio.timeout(KEPT_SECONDS):
                document = await self._kept.load()
            keys = None if document is None else read_keys(document)
        except Exception as error:
            log.warning("jwks_not_recalled", error=type(error).__name__)
            return None
        self._is_recalled = True
        if keys is not None:
            log.info("jwks_recalled", keys=len(keys))
        return keys

    async def save(self, document: bytes) -> None:
        """Save a key set, unless it was the last one saved."""
        if document == self._saved:
            return
        try:
            async with asyncio.timeout(KEPT_SECONDS):
                await self._kept.save(public_key_set(document))
            self._saved = document
        except Exception as error:
            log.warning("jwks_not_kept", error=type(error).__name__)


def is_url(location: str) -> bool:
    """Whether a key set is read from a server, and not from a file."""
    return location.lower().startswith(("http://", "https://"))


async def _read_document(location: str, timeout_seconds: float) -> bytes:
    if is_url(location):
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session, session.get(location) as response:
            if response.status != 200:
                raise NotAKeySet(f"Expected a JWKS, got HTTP status {response.status}")
            document = await read_bounded(response, MAX_BYTES)
    else:
        document = await asyncio.to_thread(_read_file, location)
    if len(document) > MAX_BYTES:
        raise NotAKeySet(f"Expected a JWKS of at most {MAX_BYTES} bytes")
    return document


def _read_file(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(MAX_BYTES + 1)
