"""Facts, read set-based: what no turn changes ahead of time, the rest under the locks of the transaction.

These are companies, then GTINs, then the rest.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import asyncpg

from worker.domain.catalogue import ApiKeyGrant, Company, Plan, Product, SigningKey
from worker.domain.command import AccessToken, ApiKey, Command, CreatePassport, Signature
from worker.domain.credentials import authenticate
from worker.domain.facts import Binding, Facts
from worker.domain.seeding import seed_fields
from worker.domain.timestamps import LATEST_MS, utc_day
from worker.store import sql
from worker.store.columns import hashes, texts
from worker.store.frames import Frames, created_body_of
from worker.store.port import BatchTooLarge

Rows = list[asyncpg.Record]

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
REPLAYED_BYTES = 8 * 1024 * 1024
"""How large the created events may be together that a turn reads to replay them."""
_ANY = 2**62
"""More bytes than there can be: a single command must pass, whatever it takes."""


def is_thumbprint(text: str) -> bool:
    """Whether it can be the id of a signing key: of no other text is the database asked, which does not take all."""
    return _THUMBPRINT.fullmatch(text) is not None


def key_id(company_id: str, key: str) -> bytes:
    """What a company's idempotency key is stored under: 16 bytes, the first of SHA-256 over both."""
    return sha256(f"{company_id}:{key}".encode()).digest()[:16]


class _Asked(NamedTuple):
    """What commands with good credentials ask for, before any of it is locked or read."""

    companies: set[str]
    key_ids: dict[tuple[str, str], bytes]
    """By company and idempotency key."""
    oldest_day: int
    """UTC day of the oldest command."""
    days: set[tuple[str, int]]
    """Of companies whose plan has a budget."""
    owners: dict[str, str]
    """By GTIN, the company that asks first."""
    serials: set[tuple[str, str, str]]
    """By company."""


def _asked(commands: Sequence[Command], facts: Facts) -> _Asked:
    """In one pass, since a turn has a thousand of them."""
    companies, key_ids, oldest_day = set[str](), dict[tuple[str, str], bytes](), utc_day(LATEST_MS)
    days, owners, serials = set[tuple[str, int]](), dict[str, str](), set[tuple[str, str, str]]()
    for command in commands:
        company = authenticate(command, facts)
        if not isinstance(company, Company):
            continue
        companies.add(company.id)
        day = utc_day(command.source.appended_ms)
        oldest_day = min(oldest_day, day)
        key = command.idempotency_key
        if key is not None:
            key_ids[company.id, key] = key_id(company.id, key)
        body = command.body
        if isinstance(body, CreatePassport):
            owners.setdefault(body.gtin, company.id)
            serials.add((company.id, body.gtin, body.serial))
            if company.plan.max_v1_writes_per_day is not None:
                days.add((company.id, day))
    return _Asked(companies, key_ids, oldest_day, days, owners, serials)


class LookUp:
    """Reads the keys, companies and products that commands name: reference data, under no lock."""

    def __init__(self, connection: sql.Connection, most_bytes: int) -> None:
        self._connection, self._most_bytes = connection, most_bytes
        self.facts = Facts()
        self._plans: dict[str, Plan] = {}

    async def look_up(self, commands: Sequence[Command]) -> Facts:
        """What there is, as facts. Raises `BatchTooLarge` before more than `most_bytes` are in memory."""
        digests, company_ids, thumbprints, product_ids = set[bytes](), set[str](), set[str](), set[str]()
        for command in commands:
            credentials, body = command.credentials, command.body
            if isinstance(credentials, ApiKey):
                digests.add(credentials.digest)
            elif isinstance(credentials, AccessToken):
                company_ids.add(credentials.company_id)
            elif isinstance(credentials, Signature):
                thumbprints.add(credentials.key_id)
            if isinstance(body, CreatePassport):
                product_ids.add(body.product_id)
        await self._companies(digests, company_ids, thumbprints)
        if product_ids and self.facts.companies:
            await self._products(product_ids)
        return self.facts

    async def _companies(self, digests: set[bytes], company_ids: set[str], thumbprints: set[str]) -> None:
        """By API keys, access tokens and signing keys."""
        for digest, revoked_ms, company_id, *company in await self._fetch("api_keys", digests):
            self.facts.api_keys[digest] = ApiKeyGrant(company_id, revoked_ms)
            self._company(company_id, *company)
        for company_id, *company in await self._fetch("companies", company_ids):
            self._company(company_id, *company)
        rows = await self._fetch("signing_keys", [*filter(is_thumbprint, thumbprints)])
        for thumbprint, jwk, not_before_ms, revoked_ms, company_id, *company in rows:
            self.facts.signing_keys[thumbprint] = SigningKey(company_id, jwk, not_before_ms, revoked_ms)
            self._company(company_id, *company)

    def _company(  # noqa: PLR0913 - the columns of a row
        self,
        company_id: str,
        subscription: str | None,
        required_ms: int | None,
        plan_id: str,
        max_dpps: int | None,
        price_cents: int | None,
        writes_per_day: int | None,
    ) -> None:
        plan = self._plans.get(plan_id)
        if plan is None:
            plan = self._plans[plan_id] = Plan(plan_id, max_dpps, price_cents, writes_per_day)
        self.facts.companies[company_id] = Company(company_id, plan, subscription, required_ms)

    async def _products(self, product_ids: set[str]) -> None:
        """Those of companies whose credentials are here; nobody else could use them."""
        most_bytes = self._most_bytes if len(product_ids) > 1 else _ANY
        rows = await self._connection.fetch(
            sql.load("products"), list(product_ids), list(self.facts.companies), most_bytes
        )
        if any(text is None for _, _, _, text in rows):
            raise BatchTooLarge
        templates = {template_id: text for product_id, _, template_id, text in rows if product_id is None}
        prefills = {company_id: text for product_id, company_id, _, text in rows if product_id is None}
        for product_id, company_id, template_id, defaults in rows:
            if product_id is not None:
                seeded = seed_fields(templates[template_id], defaults, prefills[company_id])
                self.facts.products[product_id] = Product(product_id, company_id, template_id, seeded)
                most_bytes -= len(seeded.json)
                if most_bytes < 0:
                    raise BatchTooLarge

    async def _fetch(self, query: str, keys: Collection[Any]) -> Rows:
        return await _fetch(self._connection, query, keys)


class Gathering:
    """Adds to the `facts` of one turn, within its transaction, what was not looked up ahead."""

    def __init__(self, connection: sql.Connection, facts: Facts, frames: Frames) -> None:
        self._connection, self._frames = connection, frames
        self.facts = facts
        self.numbers: dict[str, int] = {}
        """What large tables know the locked companies by."""
        self.claimed: dict[str, str] = {}
        """The GTINs that this transaction registered, and for which companies."""
        self.key_ids: Mapping[tuple[str, str], bytes] = {}
        """By company and idempotency key, of those that commands brought."""

    async def gather(self, commands: Sequence[Command]) -> None:
        """Lock and read."""
        asked = _asked(commands, self.facts)
        await self._lock_companies(asked.companies)
        await self._bindings(asked.key_ids, asked.oldest_day)
        await self._writes(asked.days)
        await self._gtin_owners(asked.owners)
        await self._serials(asked.serials)
        self.key_ids = asked.key_ids

    async def reserve(self, company_ids: set[str], owners: dict[str, str]) -> None:
        """Lock companies, and GTINs for their owners."""
        await self._lock_companies(company_ids)
        await self._gtin_owners(owners)

    async def _fetch(self, query: str, *keys: Collection[Any]) -> Rows:
        return await _fetch(self._connection, query, *keys)

    async def _lock_companies(self, company_ids: set[str]) -> None:
        for company_id, number, slots_used in await self._fetch("lock_companies", company_ids):
            self.numbers[company_id] = number
            self.facts.slots_used[company_id] = slots_used

    async def _bindings(self, key_ids: Mapping[tuple[str, str], bytes], oldest_day: int) -> None:
        """Of keys that can still be bound when the oldest of these commands came: rule 5 looks back for 24 hours."""
        if not key_ids:
            return
        most_bytes = REPLAYED_BYTES if len(key_ids) > 1 else _ANY
        rows = await self._connection.fetch(sql.load("bindings"), hashes(key_ids.values()), oldest_day - 1, most_bytes)
        if any(row["frame_id"] is None for row in rows):
            raise BatchTooLarge
        if not rows:
            return
        frames = await self._frames.load(self._connection, {row["frame_id"] for row in rows})
        keys = {id: key for key, id in key_ids.items()}
        for row in rows:
            found, fingerprint, passport_id, created_ms, *_ = row
            body = created_body_of(passport_id, row, frames)
            self.facts.bindings[keys[found]] = Binding(fingerprint, passport_id, body, created_ms)

    async def _writes(self, days: set[tuple[str, int]]) -> None:
        asked = {(self.numbers[company_id], day): (company_id, day) for company_id, day in days}
        columns = [number for number, _ in asked], [day for _, day in asked]
        for number, day, writes in await self._fetch("writes", *columns):
            self.facts.writes[asked[number, day]] = writes

    async def _gtin_owners(self, wanted: dict[str, str]) -> None:
        owners = self.facts.gtin_owners
        await self._read_owners(wanted)
        unregistered = {gtin: company_id for gtin, company_id in wanted.items() if gtin not in owners}
        claims = await self._fetch("claim_gtins", unregistered, unregistered.values())
        self.claimed = {gtin: unregistered.pop(gtin) for (gtin,) in claims}
        await self._read_owners(unregistered)

    async def _read_owners(self, gtins: Collection[str]) -> None:
        for gtin, company_id in await self._fetch("gtin_owners", gtins):
            self.facts.gtin_owners[gtin] = company_id

    async def _serials(self, serials: set[tuple[str, str, str]]) -> None:
        """Each of its company's: of another's GTIN rule 10 has the say."""
        if not serials:
            return
        companies, gtins, texts_on_units = zip(*serials, strict=True)
        columns = [self.numbers[company_id] for company_id in companies], texts(gtins), texts(texts_on_units)
        for gtin, serial, passport_id in await self._connection.fetch(sql.load("serials"), *columns):
            self.facts.serials[gtin, serial] = passport_id


async def _fetch(connection: sql.Connection, query: str, *keys: Collection[Any]) -> Rows:
    """The rows of a query by keys, a column of them an argument; nothing is asked where there are none."""
    return await connection.fetch(sql.load(query), *map(list, keys)) if keys[0] else []
