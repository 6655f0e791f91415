"""Gathers the facts of a turn within its transaction, with few queries, since each is a round trip.

It locks lanes first, then companies, then GTINs. All writers must lock in this order, or they deadlock. Reference data
comes from `worker.store.look_up`, which reads it before.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg

from worker.domain.catalogue import Company
from worker.domain.command import Command, CreatePassport
from worker.domain.credentials import authenticate
from worker.domain.facts import Binding, Facts
from worker.domain.outcomes import Created
from worker.domain.timestamps import LATEST_MS, utc_day
from worker.store import failpoints, sql
from worker.store.columns import hashes, integers, texts
from worker.store.frames import Frames, created_body_of
from worker.store.look_up import ANY_BYTES
from worker.store.port import BadRecord, BatchTooLarge, ExpectedPosition, LostLane, StoreUnavailable

# The most bytes of all created events that a turn replays.
REPLAYED_BYTES = 8 * 1024 * 1024


def key_id(company_id: str, key: str) -> bytes:
    """The id under which a company's idempotency key is stored: the first 16 bytes of SHA-256 over both."""
    return sha256(f"{company_id}:{key}".encode()).digest()[:16]


class Gathering:
    """Begins the transaction of a turn, and adds the facts that have to be read under its locks to `facts`."""

    def __init__(
        self, connection: sql.Connection, expected: Sequence[ExpectedPosition], facts: Facts, frames: Frames
    ) -> None:
        self._connection, self._expected, self._frames = connection, expected, frames
        self.facts = facts
        # The numbers that large tables have for the locked companies.
        self.numbers: dict[str, int] = {}
        # The GTINs that this transaction registered, and for which companies.
        self.claimed: dict[str, str] = {}
        # By company and idempotency key, of the commands.
        self.key_ids: dict[tuple[str, str], bytes] = {}

    async def gather(self, commands: Sequence[Command]) -> UUID:
        """Begin, lock lanes and companies, and read. Commands without good credentials lock no company.

        Returns the version of the catalogue. If it is not the look-up's, no facts were added. Raises `LostLane` for
        lanes that another worker took, and `StoreUnavailable` if a lane has another position.
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
        lanes, companies = [position.token.lane_id for position in self._expected], [*self.numbers.values()]
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
            # Rule 5 looks back 24 hours from each command, so the day before the oldest one counts, too.
            hashes(self.key_ids.values()),
            oldest_day - 1,
        )
        check_lanes(self._expected, _rows(row, "lane_ids", "epochs", "holders", "applied"))
        version: UUID = row["catalogue_version"]
        # Compared before the row is used: a remembered company may be gone, together with its usage.
        if self.facts.catalogue_version not in (None, version):
            return version
        self._note(row)
        if row["bound_keys"]:
            await self._bindings(row["bound_keys"], oldest_day)
        await self._claim_gtins(owners)
        return version

    def _note(self, row: asyncpg.Record) -> None:
        ids = {number: id for id, number in self.numbers.items()}
        self.facts.slots_used |= {ids[number]: used for number, used in _rows(row, "companies", "slots_used")}
        if lost := self.numbers.keys() - self.facts.slots_used.keys():
            raise BadRecord(f"company_usage has no row of {min(lost)}")
        for number, day, writes in _rows(row, "day_companies", "days", "writes"):
            self.facts.writes[ids[number], day] = writes
        self.facts.gtin_owners.update(_rows(row, "gtins", "owners"))
        # Only the companies' own passports: rule 10 has refused the GTINs of others.
        for gtin, serial, passport_id in _rows(row, "taken_gtins", "taken_serials", "passport_ids"):
            self.facts.serials[gtin, serial] = passport_id

    async def reserve(self, created: Sequence[Created]) -> None:
        """Lock the rows that these passports change, in a transaction that `gather` began. For `lanes recover`."""
        companies = list({passport.company_id for passport in created})
        for company_id, number, slots_used in await self._connection.fetch(sql.load("lock_companies"), companies):
            self.numbers[company_id] = number
            self.facts.slots_used[company_id] = slots_used
        owners = {passport.gtin: passport.company_id for passport in created}
        await self._owners(owners)
        await self._claim_gtins(owners)

    async def _bindings(self, bound: Sequence[bytes], oldest_day: int) -> None:
        """Read the bindings that rule 5 may need: it looks back for 24 hours from each command."""
        most_bytes = REPLAYED_BYTES if len(self.key_ids) > 1 else ANY_BYTES
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
        """Register GTINs that have no owner, which locks them against other companies."""
        free = {gtin: company_id for gtin, company_id in wanted.items() if gtin not in self.facts.gtin_owners}
        claims = await sql.fetch(self._connection, "claim_gtins", free, free.values())
        self.claimed = {gtin: free.pop(gtin) for (gtin,) in claims}
        await self._owners(free)  # another transaction registered these first

    async def _owners(self, gtins: Collection[str]) -> None:
        for gtin, company_id in await sql.fetch(self._connection, "gtin_owners", gtins):
            self.facts.gtin_owners[gtin] = company_id


def check_lanes(expected: Sequence[ExpectedPosition], lanes: Iterable[tuple[int, int, str, int | None]]) -> None:
    """Compare ids, epochs, holders and positions of locked lanes with `expected`. Raises as `Gathering.gather` does."""
    applied = {(lane_id, epoch, holder): at for lane_id, epoch, holder, at in lanes}
    if lost := [position.token for position in expected if position.token.held not in applied]:
        raise LostLane(lost)
    for position in expected:
        # A COMMIT whose answer was lost may have moved A (guard B14). The session opens the lane again to read it.
        actual = applied[position.token.held]
        if actual != position.applied:
            raise StoreUnavailable(f"{position.token.name}: expected to be at {position.applied}, found {actual}")


def _with_numbers(statements: str, **numbers: Collection[int]) -> str:
    """Statements with arrays of numbers in place of `{name}`."""
    return statements.format_map({name: f"{{{integers(values)}}}" for name, values in numbers.items()})


def _rows(row: asyncpg.Record, *columns: str) -> Iterable[Any]:
    """Rows of columns that come as arrays; an empty array comes as null."""
    return zip(*(row[column] or () for column in columns), strict=True)
