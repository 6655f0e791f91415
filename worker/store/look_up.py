"""Looks up the keys, companies and products that commands name. No turn changes them, so this needs no lock."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from worker.domain.catalogue import ApiKeyGrant, Company, Plan, Product, SigningKey
from worker.domain.command import AccessToken, ApiKey, Command, CreatePassport, Signature
from worker.domain.facts import Facts
from worker.domain.seeding import seed_fields
from worker.store import sql
from worker.store.known_catalogue import KnownCatalogue, KnownKey
from worker.store.port import BatchTooLarge

# No limit: a single command has to go through, whatever it takes.
ANY_BYTES = 2**62
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")


def is_thumbprint(text: str) -> bool:
    """Whether a text can be the id of a signing key. Postgres refuses some other texts, such as U+0000."""
    return _THUMBPRINT.fullmatch(text) is not None


class LookUp:
    """One look-up: `recall` finds what is remembered, and `read` reads the rest."""

    def __init__(self, known: KnownCatalogue, most_bytes: int) -> None:
        self._known, self._most_bytes = known, most_bytes
        self.facts = Facts()
        # Still to be found: digests of API keys, ids of companies, of signing keys and of products.
        self._digests, self._company_ids, self._thumbprints = set[bytes](), set[str](), set[str]()
        self._product_ids = set[str]()

    def recall(self, commands: Sequence[Command]) -> bool:
        """Find what is remembered. Returns whether nothing is left to read. Raises `BatchTooLarge` as `read` does."""
        self._list(commands)
        for names in (self._digests, self._company_ids, self._thumbprints):
            for name in [*names]:
                if (known := self._known.credential(name)) is not None:
                    self._note(name, known)
                    names.discard(name)
        if len(self._product_ids) == 1:
            self._most_bytes = ANY_BYTES
        for product_id in [*self._product_ids]:
            if (product := self._known.product(product_id)) is not None:
                self._add(product)
                self._product_ids.discard(product_id)
        return not (self._digests or self._company_ids or self._thumbprints or self._product_ids)

    def _list(self, commands: Sequence[Command]) -> None:
        for command in commands:
            credentials, body = command.credentials, command.body
            if isinstance(credentials, ApiKey):
                self._digests.add(credentials.digest)
            elif isinstance(credentials, AccessToken):
                self._company_ids.add(credentials.company_id)
            elif isinstance(credentials, Signature) and is_thumbprint(credentials.key_id):
                self._thumbprints.add(credentials.key_id)
            if isinstance(body, CreatePassport):
                self._product_ids.add(body.product_id)

    async def read(self, connection: sql.Connection) -> Facts:
        """Read the rest, and return all facts. Raises `BatchTooLarge` before more than `most_bytes` are in memory."""
        for digest, revoked_ms, *company in await sql.fetch(connection, "api_keys", self._digests):
            self._keep(digest, ApiKeyGrant(company[0], revoked_ms), company)
        for row in await sql.fetch(connection, "companies", self._company_ids):
            self._keep(row["id"], None, row)
        rows = await sql.fetch(connection, "signing_keys", self._thumbprints)
        for thumbprint, jwk, not_before_ms, revoked_ms, *company in rows:
            self._keep(thumbprint, SigningKey(company[0], jwk, not_before_ms, revoked_ms), company)
        if self._product_ids and self.facts.companies:
            await self._read_products(connection)
        return self.facts

    def _keep(self, name: bytes | str, key: ApiKeyGrant | SigningKey | None, row: Iterable[Any]) -> None:
        company_id, number, subscription, required_ms, channels, closed_ms, *plan = row
        bound = None if channels is None else frozenset(channels)
        company = Company(company_id, Plan(*plan), subscription, required_ms, bound, closed_ms, number)
        known = KnownKey(key, company)
        self._note(name, known)
        self._known.keep_credential(name, known)

    def _note(self, name: Any, known: KnownKey) -> None:
        self.facts.companies[known.company.id] = known.company
        if isinstance(known.key, ApiKeyGrant):
            self.facts.api_keys[name] = known.key
        elif known.key is not None:
            self.facts.signing_keys[name] = known.key

    def _add(self, product: Product) -> None:
        self.facts.products[product.id] = product
        self._most_bytes -= len(product.seeded.json)
        if self._most_bytes < 0:
            raise BatchTooLarge

    async def _read_products(self, connection: sql.Connection) -> None:
        """Read products of companies with good credentials: other commands never get as far as the product."""
        rows = await connection.fetch(
            sql.load("products"), list(self._product_ids), list(self.facts.companies), self._most_bytes
        )
        if any(text is None for _, _, _, text in rows):
            raise BatchTooLarge
        templates = {template_id: text for product_id, _, template_id, text in rows if product_id is None}
        prefills = {company_id: text for product_id, company_id, _, text in rows if product_id is None}
        for product_id, company_id, template_id, defaults in rows:
            if product_id is not None:
                seeded = seed_fields(templates[template_id], defaults, prefills[company_id])
                product = Product(product_id, company_id, template_id, seeded)
                self._add(product)
                self._known.keep_product(product)
