"""The last key set that a worker read from an authorization server, for workers that start while it is away."""

import re

from worker.store import sql

_CREDENTIALS = re.compile(r"(?<=://)[^/?#]*@")
_QUERY = re.compile(r"[?#].*", re.DOTALL)


class KeptKeySet:
    """The row of one issuer and one URL. The document holds public keys only, and is ASCII."""

    def __init__(self, store: sql.Sessions, issuer: str, url: str) -> None:
        self._store, self._issuer = store, issuer
        # The URL may hold a password or a token. Neither gets into the row.
        self._location = _QUERY.sub("", _CREDENTIALS.sub("", url))

    async def load(self) -> bytes | None:
        """The document, or None if there is none yet. Raises `StoreUnavailable`."""
        async with self._store.session() as connection:
            document = await connection.fetchval(sql.load("kept_key_set"), self._issuer, self._location)
        return None if document is None else str(document).encode("ascii")

    async def save(self, document: bytes) -> None:
        """Replace the document. Raises `StoreUnavailable`."""
        async with self._store.session() as connection:
            await connection.execute(sql.load("keep_key_set"), self._issuer, self._location, document.decode("ascii"))
