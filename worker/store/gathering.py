"""Facts of one batch, read set-based under the locks of protocol step 7: companies, then GTINs, then the rest."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from worker.domain.catalogue import ApiKeyGrant, Company, Plan, Product
from worker.domain.command import AccessToken, ApiKey, Command, CreatePassport
from worker.domain.decide import authenticated_company
from worker.domain.facts import Binding, Facts
from worker.domain.moments import utc_day
from worker.domain.seeding import seed_fields
from worker.store import sql

Rows = list[asyncpg.Record]
_Asked = tuple[Command, Company, CreatePassport]
"""A command with a valid body, and its company."""


class Gathering:
    """Fills `facts` for one batch on one connection; `claimed` are the GTINs that this transaction registered."""

    def __init__(self, connection: sql.Connection) -> None:
        self._connection = connection
        self.facts = Facts()
        self.claimed: dict[str, str] = {}
        self._prefills: dict[str, str] = {}

    async def gather(self, commands: Sequence[Command]) -> Facts:
        """Everything that decisions on these commands may look at."""
        await self._companies(await self._credentials(commands))
        known = [(command, company) for command in commands if (company := authenticated_company(command, self.facts))]
        if known:
            await self._bindings({(company.id, command.idempotency_key) for command, company in known})
        asked = [
            (command, company, body) for command, company in known if isinstance(body := command.body, CreatePassport)
        ]
        if asked:
            await self._products({body.product_id for _, _, body in asked})
            await self._writes(asked)
            await self._gtin_owners({body.gtin: company.id for _, company, body in reversed(asked)})
            await self._serials({(body.gtin, body.serial) for _, _, body in asked})
        return self.facts

    async def _fetch(self, query: str, *arguments: Any) -> Rows:
        return await self._connection.fetch(sql.load(query), *arguments)

    async def _credentials(self, commands: Sequence[Command]) -> set[str]:
        """Grants of API keys; the companies whose credentials these commands may have."""
        digests: set[bytes] = set()
        company_ids: set[str] = set()
        for command in commands:
            if isinstance(command.credentials, ApiKey):
                digests.add(command.credentials.digest)
            elif isinstance(command.credentials, AccessToken):
                company_ids.add(command.credentials.company_id)
        for digest, company_id, revoked_ms in await self._fetch("api_keys", list(digests)) if digests else ():
            self.facts.api_keys[digest] = ApiKeyGrant(company_id, revoked_ms)
            company_ids.add(company_id)
        return company_ids

    async def _companies(self, company_ids: set[str]) -> None:
        """Lock them."""
        plans: dict[str, Plan] = {}
        for row in await self._fetch("lock_companies", list(company_ids)) if company_ids else ():
            company_id, subscription, prefill, plan_id, max_dpps, price_cents, writes_per_day, slots_used = row
            plan = plans.get(plan_id) or plans.setdefault(plan_id, Plan(plan_id, max_dpps, price_cents, writes_per_day))
            self.facts.companies[company_id] = Company(company_id, plan, subscription)
            self.facts.slots_used[company_id] = slots_used
            self._prefills[company_id] = prefill

    async def _bindings(self, keys: set[tuple[str, str | None]]) -> None:
        pairs = [(company_id, key) for company_id, key in keys if key is not None]
        if pairs:
            for row in await self._fetch("bindings", *_columns(pairs)):
                company_id, key, fingerprint, passport_id, created_ms, created_body = row
                self.facts.bindings[company_id, key] = Binding(fingerprint, passport_id, created_body, created_ms)

    async def _products(self, product_ids: set[str]) -> None:
        rows = await self._fetch("products", list(product_ids))
        templates = {template_id: fields for product_id, _, template_id, fields in rows if product_id is None}
        for product_id, company_id, template_id, defaults in rows:
            prefill = self._prefills.get(company_id)
            if prefill is not None:  # nobody else in this batch could use it
                seeded = seed_fields(templates[template_id], defaults, prefill)
                self.facts.products[product_id] = Product(product_id, company_id, template_id, seeded)

    async def _writes(self, asked: list[_Asked]) -> None:
        """Of companies whose plan has a budget."""
        days = {
            (company.id, utc_day(command.source.appended_ms))
            for command, company, _ in asked
            if company.plan.max_v1_writes_per_day is not None
        }
        for company_id, day, writes in await self._fetch("writes", *_columns(days)) if days else ():
            self.facts.writes[company_id, day] = writes

    async def _gtin_owners(self, wanted: dict[str, str]) -> None:
        owners = self.facts.gtin_owners
        await self._read_owners(list(wanted))
        unregistered = {gtin: company_id for gtin, company_id in wanted.items() if gtin not in owners}
        if unregistered:
            claims = await self._fetch("claim_gtins", list(unregistered), list(unregistered.values()))
            self.claimed = {gtin: unregistered.pop(gtin) for (gtin,) in claims}
        if unregistered:
            await self._read_owners(list(unregistered))

    async def _read_owners(self, gtins: list[str]) -> None:
        for gtin, company_id in await self._fetch("gtin_owners", gtins):
            self.facts.gtin_owners[gtin] = company_id

    async def _serials(self, serials: set[tuple[str, str]]) -> None:
        for gtin, serial, passport_id in await self._fetch("serials", *_columns(serials)):
            self.facts.serials[gtin, serial] = passport_id


def _columns(rows: set[tuple[str, Any]] | list[tuple[str, Any]]) -> tuple[list[Any], list[Any]]:
    first, second = zip(*rows, strict=True)
    return list(first), list(second)
