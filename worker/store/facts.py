"""Gathers the facts of a turn with few queries, whatever the number of commands: each is a round trip.

`LookUp` reads reference data ahead, under no lock. `Gathering` reads everything else within the transaction, and locks
lanes first, then companies, then GTINs. All writers lock in this order, so that no two wait for each other.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

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
    """Reads the keys, companies and products that commands name. No turn changes them, so they need no lock."""

    def __init__(self, connection: sql.Connection, most_bytes: int) -> None:
        self._connection, self._most_bytes = connection, most_bytes
        self.facts = Facts()

    async def look_up(self, commands: Sequence[Command]) -> Facts:
        """The facts. Raises `BatchTooLarge` before more than `most_bytes` are in memory."""
        digests, company_ids, thumbprints, product_ids = set[bytes](), set[str](), set[str](), set[str]()
        for command in commands:
            credentials, body = command.credentials, command.body
            if isinstance(credentials, ApiKey):
                digests.add(credentials.digest)
            elif isinstance(credentials, AccessToken):
                company_ids.add(credentials.company_id)
            elif isinstance(credentials, Signature) and is_thumbprint(credentials.key_id):
                thumbprints.add(credentials.key_id)
            if isinstance(body, CreatePassport):
                product_ids.add(body.product_id)
        for digest, revoked_ms, *company in await _fetch(self._connection, "api_keys", digests):
            self.facts.api_keys[digest] = ApiKeyGrant(self._company(*company), revoked_ms)
        for row in await _fetch(self._connection, "companies", company_ids):
            self._company(*row)
        rows = await _fetch(self._connection, "signing_keys", thumbprints)
        for thumbprint, jwk, not_before_ms, revoked_ms, *company in rows:
            self.facts.signing_keys[thumbprint] = SigningKey(self._company(*company), jwk, not_before_ms, revoked_ms)
        if product_ids and self.facts.companies:
            await self._products(product_ids)
        return self.facts

    def _company(self, company_id: str, number: int, subscription: str | None, *row: Any) -> str:
        required_ms, channels, closed_ms, *plan = row
        bound = None if channels is None else frozenset(channels)
        company = Company(company_id, Plan(*plan), subscription, required_ms, bound, closed_ms, number)
        self.facts.companies[company_id] = company
        return company_id

    async def _products(self, product_ids: set[str]) -> None:
        """Read the products of companies whose credentials are known: no other command could use them."""
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


class Gathering:
    """Begins the transaction of a turn, and adds to its `facts` what has to be locked or read in it."""

    def __init__(self, connection: sql.Connection, facts: Facts, frames: Frames) -> None:
        self._connection, self._frames = connection, frames
        self.facts = facts
        # The numbers that large tables have for the locked companies.
        self.numbers: dict[str, int] = {}
        # The GTINs that this transaction registered, and for which companies.
        self.claimed: dict[str, str] = {}
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
