"""From what somebody has in hand to the place of a command: no index leads from a passport to the ledger.

But the id of a passport is a hash of its command's place, so places can be tested without reading them.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from worker.domain.command import place_digits
from worker.domain.places import Place
from worker.messages.envelope import LONGEST_IDEMPOTENCY_KEY, is_idempotency_key
from worker.tools.common.inspection import Inspection, LaneRow
from worker.tools.common.progress import Progress
from worker.tools.explain.kafka_side import KafkaSide
from worker.tools.explain.lookups import (
    Made,
    answered_under,
    bindings_of,
    passport_of_id,
    passport_of_serial,
    rows_behind,
)

TESTED_OFFSETS = 10_000
"""So many places of each partition are tested, from the time of creation on, ..."""
_LATEST_MS = 3_600_000
"""... and none that is later than by so much: clocks of brokers differ, but not more."""
_AT_ONCE = 100
_SCANNED_ROWS = 50_000
"""Rows of a lane that are read at once for a key."""
MOST_UNDER_KEY = 20

Offsets: TypeAlias = Mapping[int, tuple[int, int]]
"""By partition, a first offset and the one behind the last."""


@dataclass(frozen=True, slots=True)
class PassportId:
    """24 hexadecimal digits, in lower case."""

    id: str


@dataclass(frozen=True, slots=True)
class Serial:
    """What stands on a unit."""

    gtin: str
    serial: str


@dataclass(frozen=True, slots=True)
class CompanyKey:
    """A company's idempotency key."""

    company_id: str
    key: str


def key_problem(key: str) -> str | None:
    """What is wrong with an idempotency key by which nothing can be bound (rule 4), or None."""
    if is_idempotency_key(key):
        return None
    return f"expected 1 to {LONGEST_IDEMPOTENCY_KEY} characters without control characters"


Address: TypeAlias = Place | PassportId | Serial | CompanyKey


def told(address: Address) -> str:
    """What was asked for, for people."""
    match address:
        case PassportId(id):
            return f"passport {id}"
        case Serial(gtin, serial):
            return f"GTIN {gtin}, serial number {serial}"
        case CompanyKey(company_id, key):
            return f"idempotency key {key} of company {company_id}"
    return str(address)


@dataclass(frozen=True, slots=True)
class Located:
    """Where a command stands, and others under its key; without a place, `why` says what was looked at."""

    place: Place | None
    why: str = ""
    others: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Locator:
    """Finds places with what there is; either side may be away. Raises what both servers do."""

    topic: str
    database: Inspection | None
    kafka: KafkaSide | None
    lanes: Mapping[int, LaneRow]
    progress: Progress
    scan: bool

    async def locate(self, address: Address) -> Located:
        """The place of a command; of several under a key that of the newest."""
        if isinstance(address, Place):
            return Located(address)
        if isinstance(address, PassportId):
            return await self._passport(address.id)
        if self.database is None:
            return Located(None, "Only Postgres knows passports by GTIN, serial number and key.")
        if isinstance(address, Serial):
            made = await passport_of_serial(self.database.connection, address.gtin, address.serial)
            if made is None:
                return Located(None, "There is no passport with this GTIN and serial number.")
            return await self._place_of(made)
        return await self._key(self.database, address)

    async def _key(self, database: Inspection, address: CompanyKey) -> Located:
        if self.scan:
            return await self._all_under(database, address)
        bound = await bindings_of(database.connection, address.company_id, address.key)
        if not bound:
            return Located(
                None,
                "The key is bound to no passport of this company, or its binding went with its day. Refusals under it "
                "are found with --scan, which reads the whole ledger.",
            )
        return await self._place_of(bound[0])

    async def _all_under(self, database: Inspection, address: CompanyKey) -> Located:
        """Answers under a key, by reading the ledger from its end, all lanes side by side."""
        left = self._ledger()
        found = list[tuple[int, Place]]()
        self.progress.begin("reading the ledger", sum(stop - start for start, stop in left.values()))
        while left and len(found) <= MOST_UNDER_KEY:
            for partition, (start, stop) in list(left.items()):
                at = max(start, stop - _SCANNED_ROWS)
                asked = (self.lanes[partition].id, at, stop, address.company_id, address.key, MOST_UNDER_KEY + 1)
                for row in await answered_under(database.connection, *asked):
                    found.append((row.appended_ms, Place(self.topic, partition, row.offset)))
                self.progress.advance(stop - at)
                left[partition] = (start, at)
                if at <= start:
                    del left[partition]
        places = [place for _, place in sorted(found, key=lambda one: one[0], reverse=True)]
        if not places:
            return Located(None, "The ledger has no answer to this company under this key.")
        return Located(places[0], others=tuple(places[1 : MOST_UNDER_KEY + 1]))

    async def _passport(self, passport_id: str) -> Located:
        if self.database is not None and (made := await passport_of_id(self.database.connection, passport_id)):
            return await self._place_of(made)
        found = await self._place_of(Made(passport_id, int(passport_id[:8], 16) * 1000))
        if found.place is None and self.database is not None:
            return Located(None, f"Postgres has no passport {passport_id}. {found.why}")
        return found

    async def _place_of(self, made: Made) -> Located:
        """Tests the places that the log, then the ledger, has of the hour of creation; with --scan all others."""
        for places in (self._in_log, self._in_ledger):
            if place := await self._tested(made, await places(made.created_ms)):
                return Located(place)
        if not self.scan:
            looked = f"None of the first {TESTED_OFFSETS:,} places a partition in the hour from its creation on"
            return Located(None, f"{looked} is that of this passport. --scan tests all places.")
        place = await self._tested(made, self._all_places())
        return Located(place, f"No place on {self.topic} is that of this passport.")

    async def _in_log(self, created_ms: int) -> Offsets:
        if self.kafka is None or not self.kafka.bounds:
            return {}
        looks = (
            self.kafka.reader.first_since(self.topic, self.kafka.bounds, datetime.fromtimestamp(at / 1000, UTC))
            for at in (created_ms, created_ms + _LATEST_MS)
        )
        starts, stops = await asyncio.gather(*looks)
        return {one: (at, min(at + TESTED_OFFSETS, stops[one])) for one, at in starts.items()}

    async def _in_ledger(self, created_ms: int) -> Offsets:
        if self.database is None:
            return {}
        ranges = await self._rows_since(self.database, created_ms)
        rows = await rows_behind(self.database.connection, {self.lanes[one].id: found for one, found in ranges.items()})
        in_time = {one for one, row in rows.items() if row.appended_ms <= created_ms + _LATEST_MS}
        return {
            one: (at, min(at + TESTED_OFFSETS, stop))
            for one, (at, stop) in ranges.items()
            if self.lanes[one].id in in_time
        }

    def _ledger(self) -> dict[int, tuple[int, int]]:
        """The offsets that the ledger has of each partition."""
        lanes = self.lanes.items()
        return {one: (row.position.ledger_from, row.position.applied) for one, row in lanes if row.position}

    def _all_places(self) -> Offsets:
        ends = {one: row.position.applied for one, row in self.lanes.items() if row.position}
        for one, bounds in (self.kafka.bounds if self.kafka else {}).items():
            ends[one] = max(bounds.end, ends.get(one, 0))
        self.progress.begin("testing places", sum(ends.values()))
        return {one: (0, end) for one, end in ends.items()}

    async def _tested(self, made: Made, offsets: Offsets) -> Place | None:
        """The nearest to the starts first, of all partitions side by side."""
        wanted = made.passport_id[8:]
        longest = max((stop - start for start, stop in offsets.values()), default=0)
        for step in range(0, longest, _AT_ONCE):
            for partition, (start, stop) in offsets.items():
                chunk = range(min(stop, start + step), min(stop, start + step + _AT_ONCE))
                if (offset := self._first_with(wanted, partition, chunk)) is not None:
                    return Place(self.topic, partition, offset)
                self.progress.advance(len(chunk))
            await asyncio.sleep(0)
        return None

    def _first_with(self, digits: str, partition: int, offsets: Iterable[int]) -> int | None:
        topic = self.topic
        return next((at for at in offsets if place_digits(Place(topic, partition, at)) == digits), None)

    async def _rows_since(self, database: Inspection, created_ms: int) -> Offsets:
        """The ledger's offsets of each partition that were appended then or later, found for all together."""
        ranges = {self.lanes[one].id: found for one, found in self._ledger().items()}
        found = dict(ranges)
        while halves := {lane: ((low + high) // 2, high) for lane, (low, high) in found.items() if low < high}:
            rows = await rows_behind(database.connection, halves)
            for lane, (middle, _) in halves.items():
                low, high = found[lane]
                row = rows.get(lane)
                earlier = row is not None and row.appended_ms < created_ms
                found[lane] = (row.offset + 1, high) if row is not None and earlier else (low, middle)
        return {one: (found[row.id][0], ranges[row.id][1]) for one, row in self.lanes.items() if row.id in ranges}
