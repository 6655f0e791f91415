"""Keys, companies and products that turns have read, until the catalogue changes."""

from sys import getsizeof
from typing import NamedTuple
from uuid import UUID

from worker.domain.cache import Cache
from worker.domain.catalogue import ApiKeyGrant, Company, Product, SigningKey
from worker.store import sql

# About what a company takes with its plan, and the key that names it.
_COMPANY_BYTES = 600


class KnownKey(NamedTuple):
    """What a credential names: a key, where it is one, and its company."""

    key: ApiKeyGrant | SigningKey | None
    company: Company


class KnownCatalogue:
    """What was read of one version of the catalogue, within bounds of memory.

    Everything in it was read after its `version` was, so it is at least as new. A change of the catalogue renews the
    version (migration 0005), and this object is thrown away. What does not exist is not remembered.
    """

    def __init__(self) -> None:
        self.version: UUID | None = None
        self._credentials: Cache[KnownKey] = Cache(8 * 1024 * 1024)
        self._products: Cache[Product] = Cache(8 * 1024 * 1024)

    async def read_version(self, connection: sql.Connection) -> None:
        """Read it, if nobody has: before anything that is to be remembered."""
        if self.version is None:
            ((version,),) = await connection.fetch(sql.load("catalogue_version"))
            self.version = self.version or version  # another look-up may have been faster

    def credential(self, name: bytes | str) -> KnownKey | None:
        """By the digest of an API key, the thumbprint of a signing key, or the id of a company."""
        return self._credentials.get((name,))

    def keep_credential(self, name: bytes | str, known: KnownKey) -> None:
        """Remember it; the least recently used ones go."""
        jwk = known.key.jwk if isinstance(known.key, SigningKey) else ""
        self._credentials.put((name,), known, _COMPANY_BYTES + getsizeof(jwk))

    def product(self, product_id: str) -> Product | None:
        """By its id."""
        return self._products.get((product_id,))

    def keep_product(self, product: Product) -> None:
        """Likewise, unless it is large."""
        if not product.seeded.is_large:
            self._products.put((product.id,), product, getsizeof(product.seeded.json))
