"""Remembers keys, companies and products that turns have read, until the catalogue changes."""

from sys import getsizeof
from typing import NamedTuple
from uuid import UUID

from worker.domain.cache import Cache
from worker.domain.catalogue import ApiKeyGrant, Company, Product, SigningKey
from worker.store import sql

# Roughly what a company takes with its plan and the key that names it.
_COMPANY_BYTES = 600


class KnownKey(NamedTuple):
    """The key that a credential names, and its company. An access token names no key, only the company."""

    key: ApiKeyGrant | SigningKey | None
    company: Company


class KnownCatalogue:
    """A cache of one version of the catalogue, within a bound of memory.

    Everything in it was read after its `version` was, so it is at least as new. A change of the catalogue renews the
    version (migration 0005), and this object is thrown away. It does not remember that something does not exist.
    """

    def __init__(self) -> None:
        self.version: UUID | None = None
        self._credentials: Cache[KnownKey] = Cache(8 * 1024 * 1024)
        self._products: Cache[Product] = Cache(8 * 1024 * 1024)

    async def read_version(self, connection: sql.Connection) -> None:
        """Read the version, unless it is known. Call this before reading anything that is to be remembered."""
        if self.version is None:
            ((version,),) = await connection.fetch(sql.load("catalogue_version"))
            self.version = self.version or version  # another look-up may have been faster

    def credential(self, name: bytes | str) -> KnownKey | None:
        """Find by the digest of an API key, the thumbprint of a signing key, or the id of a company."""
        return self._credentials.get((name,))

    def keep_credential(self, name: bytes | str, known: KnownKey) -> None:
        """Remember a credential."""
        jwk = known.key.jwk if isinstance(known.key, SigningKey) else ""
        self._credentials.put((name,), known, _COMPANY_BYTES + getsizeof(jwk))

    def product(self, product_id: str) -> Product | None:
        """Find a product by its id."""
        return self._products.get((product_id,))

    def keep_product(self, product: Product) -> None:
        """Remember a product, unless it is large."""
        if not product.seeded.is_large:
            self._products.put((product.id,), product, getsizeof(product.seeded.json))
