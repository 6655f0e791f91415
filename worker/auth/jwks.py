"""The authorization server's public keys (JWKS, RFC 7517), from a URL or a file, read again as they rotate."""

import asyncio
import time
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Protocol

import aiohttp
import structlog

from worker.auth.key_set import NotAKeySet, VerificationKey, public_key_set, read_keys

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
WAIT_SECONDS = 8.0
"""Tokens of unknown keys wait so long for a server that is away, all of an outage together. A lane that waits looks
again after a second and some patience, so that no command waits for longer than 10 s."""
WATCH_SECONDS = 5.0
"""While a server is away for which tokens have waited, it is asked this often, whether tokens come or not."""
KEPT_SECONDS = 5.0
"""Postgres may take so long to give or take the kept key set."""
MAX_BYTES = 1024 * 1024


class KeysUnavailable(Exception):
    """The keys cannot be read now, and the one that is needed is not among those read before.

    Wait and try again, unless `is_given_up`: then this outage has been waited for, and the next one may be.
    """

    def __init__(self, reason: str, *, is_given_up: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_given_up = is_given_up


class KeptKeys(Protocol):
    """Keeps the last good key set for a start without the server. Both methods may fail with any exception."""

    async def load(self) -> bytes | None:
        """The key set that some worker kept last; None where none was kept."""
        ...

    async def save(self, document: bytes) -> None:
        """Keep a key set, which holds public keys only, in place of the one before."""
        ...


class JwksSource:
    """Keys by id. `location` is an http(s) URL or a path; `now` is a monotonic clock in seconds.

    `tell` is told of each read whether it was good. `kept` has the keys of an earlier process, which count until the
    server has answered this one.
    """

    def __init__(
        self,
        location: str,
        now: Callable[[], float] = time.monotonic,
        *,
        timeout_seconds: float = 3.0,
        tell: Callable[[bool], None] = lambda good: None,
        kept: KeptKeys | None = None,
    ) -> None:
        self._location = location
        self._tell = tell
        self._now = now
        self._timeout_seconds = timeout_seconds
        self._kept = kept
        self._is_recalled = kept is None
        self._reading: asyncio.Task[None] | None = None
        self._began_at = -inf
        self._document = self._saved = b""
        self._keys: Mapping[str, VerificationKey] = {}
        self._tried_at = -inf
        self._waiting_since: float | None = None
        """Since when a token of an unknown key has waited for a server that has not answered yet."""
        self._problem: str | None = None

    async def key(self, key_id: str) -> VerificationKey | None:
        """The key of that id, or None where a key set that was just read has no such key.

        Raises `KeysUnavailable` when the key set cannot be read and no earlier one had the key.
        """
        if not self._is_settled(key_id):
            await self._read_anew()
        key = self._keys.get(key_id)
        if key is None and not self._is_settled(key_id):
            raise self._unavailable("The keys are being read")
        if key is None and self._problem is not None:
            raise self._unavailable(self._problem)
        return key

    async def read_now(self) -> int:
        """Read the key set, however new the last one is; the number of keys that can be used.

        Raises `KeysUnavailable` when it cannot be read.
        """
        await self._refresh()
        if self._problem is not None:
            raise KeysUnavailable(self._problem)
        return len(self._keys)

    def _unavailable(self, reason: str) -> KeysUnavailable:
        """Whether to wait: the first token of an outage begins the wait of all."""
        if self._waiting_since is None:
            self._waiting_since = self._now()
        return KeysUnavailable(reason, is_given_up=self._now() - self._waiting_since >= WAIT_SECONDS)

    async def watch(self) -> None:
        """While tokens wait or are refused, read again until the server answers. Runs until it is cancelled.

        Otherwise only tokens make us read, and the first one after a long outage would be refused for what is over.
        """
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._waiting_since is not None:
                await asyncio.wait({self._read_in_background()})

    async def _read_anew(self) -> None:
        """For a moment only: all commands of a turn wait for this one, also those that need no key of the server's."""
        reading = self._read_in_background()
        patience = self._began_at + PATIENCE_SECONDS - time.monotonic()
        await asyncio.wait({reading}, timeout=max(0.0, patience))
        if reading.done():
            reading.result()

    def _read_in_background(self) -> asyncio.Task[None]:
        """The read that is going on, or a new one."""
        if self._reading is None or self._reading.done():
            self._reading, self._began_at = asyncio.create_task(self._refresh()), time.monotonic()
        return self._reading

    def _is_settled(self, key_id: str) -> bool:
        """Whether the last read is recent enough to answer for this key."""
        if self._problem is None:
            patience = MAX_AGE_SECONDS if key_id in self._keys else UNKNOWN_KEY_SECONDS
        else:
            patience = STALE_SECONDS if key_id in self._keys else FAILED_SECONDS
        return self._now() - self._tried_at < patience

    async def _refresh(self) -> None:
        await self._recall()
        try:
            document = await self._read()
            if document != self._document:
                self._keys = read_keys(document)
                self._document = document
                log.info("jwks_changed", keys=len(self._keys))
            self._problem = self._waiting_since = None
        except NotAKeySet as error:
            self._problem = str(error)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The kind of failure only: its text may quote a URL that holds a password.
            self._problem = f"Expected a readable JWKS, got {type(error).__name__}"
        if self._problem is not None:
            log.warning("jwks_unavailable", reason=self._problem)
        self._tell(self._problem is None)
        self._tried_at = self._now()
        await self._save()

    async def _recall(self) -> None:
        """Before the first read, take the keys that were kept, so that a start does not need the server."""
        if self._is_recalled or self._kept is None or self._document:
            return
        try:
            async with asyncio.timeout(KEPT_SECONDS):
                document = await self._kept.load()
            if document is not None:
                self._keys = read_keys(document)
                log.info("jwks_recalled", keys=len(self._keys))
            self._is_recalled = True
        except Exception as error:  # whatever it is: the server may answer, and the next read tries again
            log.warning("jwks_not_recalled", error=type(error).__name__)

    async def _save(self) -> None:
        """Keep the key set that was read, once for each time that it has changed."""
        if self._kept is None or self._document == self._saved:
            return
        document = self._document
        try:
            async with asyncio.timeout(KEPT_SECONDS):
                await self._kept.save(public_key_set(document))
            self._saved = document
        except Exception as error:  # whatever it is: the keys are known to this process, and the next read tries again
            log.warning("jwks_not_kept", error=type(error).__name__)

    async def _read(self) -> bytes:
        if is_url(self._location):
            return await self._download()
        return await asyncio.to_thread(_read_file, self._location)

    async def _download(self) -> bytes:
        timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(self._location) as response,
        ):
            if response.status != 200:
                raise NotAKeySet(f"Expected a JWKS, got HTTP status {response.status}")
            document = bytearray()
            async for chunk in response.content.iter_any():
                document += chunk
                _check_size(len(document))
            return bytes(document)


def is_url(location: str) -> bool:
    """Whether a key set is read from a server, and not from a file."""
    return location.lower().startswith(("http://", "https://"))


def _read_file(path: str) -> bytes:
    with Path(path).open("rb") as file:
        document = file.read(MAX_BYTES + 1)
    _check_size(len(document))
    return document


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise NotAKeySet(f"Expected a JWKS of at most {MAX_BYTES} bytes")
