"""Gathers the facts of a turn with few queries, whatever the number of commands: each is a round trip.

`LookUp` reads reference data ahead, under no lock. `Gathering` reads everything else within the transaction, and locks
lanes first, then companies, then GTINs. All writers lock in this order, so that no two wait for each other.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg

from worker.domain.catalogue import ApiKeyGrant, Company, Plan, Product, SigningKey
from worker.domain.command import AccessToken, ApiKey, Command, CreatePassport, Signature
from worker.domain.credentials import authenticate
from worker.domain.facts import Binding, Facts
from worker.domain.outcomes import Created
from worker.domain.seeding import seed_fields
from worker.domain.timestamps import LATEST_MS, utc_day
from worker.store import failpoints, sql
from worker.store.columns import hashes, texts
from worker.store.frames import Frames, created_body_of
from worker.store.known_catalogue import KnownCatalogue, KnownKey
from worker.store.port import BadRecord, BatchTooLarge, ExpectedPosition, LostLane, StoreUnavailable

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
# The created events that a turn replays may have so many bytes together.
REPLAYED_BYTES = 8 * 1024 * 1024
# No limit of bytes: a single command has to pass, whatever it takes.
_ANY = 2**62


def is_thumbprint(text: str) -> bool:
    """Whether the text can be the id of a signing key. Postgres would refuse some other texts, such as U+0000."""
    return _THUMBPRINT.fullmatch(text) is not None


def key_id(company_id: str, key: str) -> bytes:
    """The id under which a company's idempotency key is stored: the first 16 bytes of SHA-256 over both."""
    return sha256(f"{company_id}:{key}".encode()).digest()[:16]


class LookUp:
    """Finds the keys, companies and products that commands name. No turn changes them, so they need no lock."""

    def __init__(self, known: KnownCatalogue, most_bytes: int) -> None:
        self._known, self._most_bytes = known, most_bytes
        self.facts = Facts(catalogue_version=known.version)
        # What is not remembered: digests of API keys, ids of companies and signing keys, ids of products.
        self._digests, self._company_ids, self._thumbprints = set[bytes](), set[str](), set[str]()
        self._product_ids = set[str]()

    def recall(self, commands: Sequence[Command]) -> bool:
        """Find what is remembered. Returns whether this is all. Raises `BatchTooLarge`, as `read` does."""
        self._list(commands)
        for names in (self._digests, self._company_ids, self._thumbprints):
            for name in [*names]:
                if (known := self._known.credential(name)) is not None:
                    self._note(name, known)
                    names.discard(name)
        if len(self._product_ids) == 1:
            self._most_bytes = _ANY
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

    async def read(self, connection: sql.Connection) -> None:
        """Read the rest. Raises `BatchTooLarge` before products of more than `most_bytes` are in memory."""
        if self._known.version is None:
            ((version,),) = await connection.fetch(sql.load("catalogue_version"))
            if self._known.version is None:  # another look-up may have been faster
                self._known.version = version
            self.facts.catalogue_version = version
        for digest, revoked_ms, *company in await _fetch(connection, "api_keys", self._digests):
            self._keep(digest, ApiKeyGrant(company[0], revoked_ms), company)
        for row in await _fetch(connection, "companies", self._company_ids):
            self._keep(row["id"], None, row)
        rows = await _fetch(connection, "signing_keys", self._thumbprints)
        for thumbprint, jwk, not_before_ms, revoked_ms, *company in rows:
            self._keep(thumbprint, SigningKey(company[0], jwk, not_before_ms, revoked_ms), company)
        if self._product_ids and self.facts.companies:
            await self._read_products(connection)

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
        """Read the products of companies whose credentials are known: no other command could use them."""
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


class Gathering:
    """Begins the transaction of a turn, and adds to its `facts` what has to be locked or read in it."""

    def __init__(self, connection: sql.Connection, facts: Facts, frames: Frames) -> None:
        self._connection, self._frames = connection, frames
        self.facts = facts
        # The numbers that large tables have for the locked companies.
        self.numbers: dict[str, int] = {}
        # The GTINs that this transaction registered, and for which companies.
        self.claimed: dict[str, str] = {}
        self.catalogue_version: UUID | None = None
        # By company and idempotency key, of the commands.
        self.key_ids: dict[tuple[str, str], bytes] = {}

    async def gather(self, expected: Sequence[ExpectedPosition], commands: Sequence[Command]) -> None:
        """Lock lanes and companies, and read. Commands without good credentials lock no company.

        Raises `LostLane` for lanes that another worker took, `StoreUnavailable` where a lane stands somewhere else.
        """
        oldest_day = utc_day(LATEST_MS)
        days, owners, serials = set[tuple[int, int]](), dict[str, str](), set[tuple[int, str, str]]()
        for command in commands:  # one pass, since a turn has a thousand of them
            company = authenticate(command, self.facts)
            if not isinstance(company, Company):
                continue
            self.numbers[company.id] = company.number
            day = utc_day(command.source.appended_ms)
            oldest_day = min(oldest_day, day)
            key, body = command.idempotency_key, command.body
            if key is not None:
                self.key_ids[company.id, key] = key_id(company.id, key)
            if isinstance(body, CreatePassport):
                owners.setdefault(body.gtin, company.id)  # the company that asks first
                serials.add((company.number, body.gtin, body.serial))
                if company.plan.max_v1_writes_per_day is not None:
                    days.add((company.number, day))
        lanes, companies = [position.token.lane_id for position in expected], [*self.numbers.values()]
        await self._connection.execute(_with_numbers(sql.load("begin"), lanes=lanes, companies=companies))
        failpoints.reach("lane lock")
        (row,) = await self._connection.fetch(
            sql.load("gather"),
            lanes,
            companies,
            [number for number, _ in days],
            [day for _, day in days],
            texts([*owners]),
            [number for number, _, _ in serials],
            texts([gtin for _, gtin, _ in serials]),
            texts([serial for _, _, serial in serials]),
            hashes(self.key_ids.values()),
            oldest_day - 1,
        )
        check_lanes(expected, _rows(row, "lane_ids", "epochs", "holders", "applied"))
        self._note(row)
        self.catalogue_version = row["catalogue_version"]
        if row["bound_keys"]:
            await self._bindings(row["bound_keys"], oldest_day)
        await self._claim_gtins(owners)

    def _note(self, row: asyncpg.Record) -> None:
        ids = {number: id for id, number in self.numbers.items()}
        self.facts.slots_used |= {ids[number]: used for number, used in _rows(row, "companies", "slots_used")}
        if lost := self.numbers.keys() - self.facts.slots_used.keys():
            raise BadRecord(f"company_usage has no row of {min(lost)}")
        for number, day, writes in _rows(row, "day_companies", "days", "writes"):
            self.facts.writes[ids[number], day] = writes
        self.facts.gtin_owners.update(_rows(row, "gtins", "owners"))
        # A company's own passports alone: rule 10 refuses the GTINs of others before.
        for gtin, serial, passport_id in _rows(row, "taken_gtins", "taken_serials", "passport_ids"):
            self.facts.serials[gtin, serial] = passport_id

    async def reserve(self, created: Sequence[Created]) -> None:
        """Lock what these passports change, within a transaction that `gather` began."""
        companies = list({passport.company_id for passport in created})
        for company_id, number, slots_used in await self._connection.fetch(sql.load("lock_companies"), companies):
            self.numbers[company_id] = number
            self.facts.slots_used[company_id] = slots_used
        owners = {passport.gtin: passport.company_id for passport in created}
        await self._owners(owners)
        await self._claim_gtins(owners)

    async def _bindings(self, bound: Sequence[bytes], oldest_day: int) -> None:
        """Read the bindings that rule 5 may meet: it looks back for 24 hours from each command."""
        most_bytes = REPLAYED_BYTES if len(self.key_ids) > 1 else _ANY
        rows = await self._connection.fetch(sql.load("bindings"), hashes(bound), oldest_day - 1, most_bytes)
        if any(row["frame_id"] is None for row in rows):
            raise BatchTooLarge
        frames = await self._frames.load(self._connection, {row["frame_id"] for row in rows})
        keys = {id: key for key, id in self.key_ids.items()}
        for row in rows:
            id, fingerprint, passport_id, created_ms, *_ = row
            body = created_body_of(passport_id, row, frames)
            self.facts.bindings[keys[id]] = Binding(fingerprint, passport_id, body, created_ms)

    async def _claim_gtins(self, wanted: Mapping[str, str]) -> None:
        """Register GTINs without an owner: the claim locks a GTIN against other companies."""
        free = {gtin: company_id for gtin, company_id in wanted.items() if gtin not in self.facts.gtin_owners}
        claims = await _fetch(self._connection, "claim_gtins", free, free.values())
        self.claimed = {gtin: free.pop(gtin) for (gtin,) in claims}
        await self._owners(free)  # another transaction was faster

    async def _owners(self, gtins: Collection[str]) -> None:
        for gtin, company_id in await _fetch(self._connection, "gtin_owners", gtins):
            self.facts.gtin_owners[gtin] = company_id


def check_lanes(expected: Sequence[ExpectedPosition], lanes: Iterable[tuple[int, int, str, int | None]]) -> None:
    """Compare the ids, epochs, holders and positions of locked lanes with `expected`, as `Gathering.gather` says."""
    applied = {(lane_id, epoch, holder): at for lane_id, epoch, holder, at in lanes}
    if lost := [position.token for position in expected if position.token.held not in applied]:
        raise LostLane(lost)
    for position in expected:
        actual = applied[position.token.held]
        if actual != position.applied:
            raise StoreUnavailable(f"{position.token.name}: expected to be at {position.applied}, found {actual}")


def _with_numbers(statements: str, **numbers: Collection[int]) -> str:
    """Statements with arrays of numbers in place of `{name}`."""
    return statements.format_map({name: f"{{{','.join(map(str, own))}}}" for name, own in numbers.items()})


def _rows(row: asyncpg.Record, *columns: str) -> Iterable[Any]:
    """Rows of columns that come as arrays; an array of nothing comes as null."""
    return zip(*(row[column] or () for column in columns), strict=True)


async def _fetch(connection: sql.Connection, query: str, *keys: Collection[Any]) -> "list[asyncpg.Record]":
    """The rows of a query whose arguments are columns of keys. No keys, no question."""
    return await connection.fetch(sql.load(query), *map(list, keys)) if keys[0] else []
