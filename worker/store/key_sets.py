"""The last key set that a worker read of an authorization server, for a worker that starts while it is away."""

import re
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from worker.store import sql
from worker.store.sql import Connection

_CREDENTIALS = re.compile(r"(?<=://)[^/?#]*@")
_QUERY = re.compile(r"[?#].*", re.DOTALL)


class _Sessions(Protocol):
    def session(self) -> AbstractAsyncContextManager[Connection]: ...


class KeptKeySet:
    """The row of one issuer and one URL. The document holds public keys only, and is ASCII."""

    def __init__(self, store: _Sessions, issuer: str, url: str) -> None:
        """The URL may hold a password or a token; neither gets into the row."""
        self._store, self._issuer = store, issuer
        self._location = _QUERY.sub("", _CREDENTIALS.sub("", url))

    async def load(self) -> bytes | None:
        """The document that was kept last; None where none was. Raises `StoreUnavailable`."""
        async with self._store.session() as connection:
            document = await connection.fetchval(sql.load("kept_key_set"), self._issuer, self._location)
        return None if document is None else str(document).encode("ascii")

    async def save(self, document: bytes) -> None:
        """Keep a document in place of the one before. Raises `StoreUnavailable`."""
        async with self._store.session() as connection:
            await connection.execute(sql.load("keep_key_set"), self._issuer, self._location, document.decode("ascii"))
