"""Finds the place of a command. No index leads from a passport to the ledger.

The id of a passport is a hash of its command's place, so places can be tested without reading them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from aiokafka.structs import TopicPartition

from worker.domain.command import place_digits
from worker.domain.places import Place, place_text
from worker.domain.timestamps import time_of_ms
from worker.stream.log_reader import Bounds
from worker.tools.common.address import Address, PassportId, Serial
from worker.tools.common.companies import find_company
from worker.tools.common.inspection import Inspection, LaneRow
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.explain.kafka_side import KafkaSide
from worker.tools.explain.postgres_side import (
    CreatedPassport,
    answered_under,
    bindings_of,
    first_rows,
    passport_by_id,
    passport_by_serial,
)

# Places tested in each partition, from the time of creation on.
TESTED_OFFSETS = 10_000
# Places later than this after the creation are not tested: the clocks of brokers do not differ by more.
_LATEST_MS = 3_600_000
_AT_ONCE = 100
# Rows of a lane that one query reads for a key.
_SCANNED_ROWS = 50_000
MOST_UNDER_KEY = 20

# The first offset and the offset after the last, by lane.
Ranges: TypeAlias = Mapping[TopicPartition, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Located:
    """The place of a command, and of others under its key. Without a place, `why` says what was searched."""

    command: Place | None
    why: str = ""
    others: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Locator:
    """Finds places with the servers that answer; either may be away. Raises what both servers raise.

    `kafka` and `lanes` are those of all channels that are searched.
    """

    database: Inspection | None
    kafka: Sequence[KafkaSide]
    lanes: Mapping[TopicPartition, LaneRow]
    progress: Progress
    scan: bool

    async def locate(self, address: Address) -> Located:
        """The place of a command; if a key has several, that of the newest."""
        match address:
            case Place():
                return Located(address)
            case PassportId(id):
                return await self._by_passport_id(id)
        if self.database is None:
            return Located(None, "Only Postgres knows passports by GTIN, serial number and key.")
        if isinstance(address, Serial):
            passport = await passport_by_serial(self.database.connection, address.gtin, address.serial)
            if passport is None:
                return Located(None, "No passport has this GTIN and serial number.")
            return await self._by_passport(passport)
        company = await find_company(self.database.connection, address.company)
        if isinstance(company, Problem):
            return Located(None, company.text)
        if self.scan:
            return await self._all_under_key(self.database, company.id, address.key)
        bound = await bindings_of(self.database.connection, company.id, address.key)
        if bound:
            return await self._by_passport(bound[0])
        return Located(
            None,
            "The key is bound to no passport of this company, or its binding was dropped with its day. "
            f"`passport-worker refusals --company {company.id}` lists the newest refusals. --scan finds all answers "
            "under the key: it reads the whole ledger.",
        )

    async def _all_under_key(self, database: Inspection, company_id: str, key: str) -> Located:
        """Answers under a key. Reads the ledger backwards from its end, all lanes side by side."""
        left = dict(self._ledger_ranges())
        answers = list[tuple[int, Place]]()
        self.progress.begin("reading the ledger", sum(stop - start for start, stop in left.values()))
        while left and len(answers) <= MOST_UNDER_KEY:
            for lane, (start, stop) in list(left.items()):
                begin = max(start, stop - _SCANNED_ROWS)
                rows = (self.lanes[lane].id, begin, stop, company_id, key, MOST_UNDER_KEY + 1)
                for row in await answered_under(database.connection, *rows):
                    answers.append((row.appended_ms, Place(lane.topic, lane.partition, row.offset)))
                self.progress.advance(stop - begin)
                left[lane] = (start, begin)
                if begin <= start:
                    del left[lane]
        commands = [command for _, command in sorted(answers, key=lambda answer: answer[0], reverse=True)]
        if not commands:
            return Located(None, "The ledger has no answer to this company under this key.")
        return Located(commands[0], others=tuple(commands[1 : MOST_UNDER_KEY + 1]))

    async def _by_passport_id(self, passport_id: str) -> Located:
        if self.database is not None and (passport := await passport_by_id(self.database.connection, passport_id)):
            return await self._by_passport(passport)
        seconds = int(passport_id[:8], 16)  # an id begins with its time
        located = await self._by_passport(CreatedPassport(passport_id, seconds * 1000))
        if located.command is None and self.database is not None:
            return Located(None, f"Postgres has no passport {passport_id}. {located.why}")
        return located

    async def _by_passport(self, passport: CreatedPassport) -> Located:
        """Test the places of the hour of creation in the log, then those in the ledger; with --scan all others."""
        for ranges in (self._ranges_in_log, self._ranges_in_ledger):
            if command := await self._test(passport, await ranges(passport.created_ms)):
                return Located(command)
        if not self.scan:
            text = f"The first {TESTED_OFFSETS:,} places of each partition in the hour from its creation on were tested"
            return Located(None, f"{text}; this passport comes from none of them. --scan tests all places.")
        command = await self._test(passport, self._all_ranges())
        topics = sorted({lane.topic for lane in (*self.lanes, *self._bounds())})
        return Located(command, f"This passport comes from no place on {', '.join(topics)}.")

    async def _ranges_in_log(self, created_ms: int) -> Ranges:
        ranges = dict[TopicPartition, tuple[int, int]]()
        for kafka in self.kafka:
            topic, times = kafka.settings.topic_commands, map(time_of_ms, (created_ms, created_ms + _LATEST_MS))
            starts, stops = await asyncio.gather(*(kafka.reader.first_since(topic, kafka.bounds, at) for at in times))
            for at, start in starts.items():
                ranges[TopicPartition(topic, at)] = (start, min(start + TESTED_OFFSETS, stops[at]))
        return ranges

    async def _ranges_in_ledger(self, created_ms: int) -> Ranges:
        """Offsets from the first row appended at the creation or later; all lanes are bisected together."""
        if self.database is None:
            return {}
        connection, ledger = self.database.connection, self._ledger_ranges()
        lanes = {self.lanes[at].id: at for at in ledger}
        left = {self.lanes[at].id: offsets for at, offsets in ledger.items()}
        # Bisection relies on ascending append times. If producers write them, only --scan finds the place for sure.
        while halves := {id: ((low + high) // 2, high) for id, (low, high) in left.items() if low < high}:
            rows = await first_rows(connection, halves)
            for id, (middle, _) in halves.items():
                low, high = left[id]
                row = rows.get(id)
                is_earlier = row is not None and row.appended_ms < created_ms
                left[id] = (row.offset + 1, high) if row is not None and is_earlier else (low, middle)
        ranges = {id: (low, ledger[lanes[id]][1]) for id, (low, _) in left.items()}
        rows = await first_rows(connection, ranges)
        return {
            lanes[id]: (ranges[id][0], min(ranges[id][0] + TESTED_OFFSETS, ranges[id][1]))
            for id, row in rows.items()
            if row.appended_ms <= created_ms + _LATEST_MS
        }

    def _ledger_ranges(self) -> Ranges:
        """The offsets that the ledger has of each lane."""
        lanes = self.lanes.items()
        return {at: (row.position.ledger_from, row.position.applied) for at, row in lanes if row.position}

    def _all_ranges(self) -> Ranges:
        ends = {at: row.position.applied for at, row in self.lanes.items() if row.position}
        for at, bounds in self._bounds().items():
            ends[at] = max(bounds.end, ends.get(at, 0))
        self.progress.begin("testing places", sum(ends.values()))
        return {at: (0, end) for at, end in ends.items()}

    def _bounds(self) -> Mapping[TopicPartition, Bounds]:
        return {
            TopicPartition(kafka.settings.topic_commands, at): bounds
            for kafka in self.kafka
            for at, bounds in kafka.bounds.items()
        }

    async def _test(self, passport: CreatedPassport, ranges: Ranges) -> Place | None:
        """Test places nearest to the starts first, all lanes side by side."""
        digits = passport.passport_id[8:]
        longest = max((stop - start for start, stop in ranges.values()), default=0)
        for step in range(0, longest, _AT_ONCE):
            for lane, (start, stop) in ranges.items():
                chunk = range(min(stop, start + step), min(stop, start + step + _AT_ONCE))
                for offset in chunk:
                    if place_digits(place_text(lane.topic, lane.partition, offset)) == digits:
                        return Place(lane.topic, lane.partition, offset)
                self.progress.advance(len(chunk))
            # Hashing never awaits a server, so give the console's other pages, and signals, their turn.
            await asyncio.sleep(0)
        return None
