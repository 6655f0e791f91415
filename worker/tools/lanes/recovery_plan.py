"""Plans a recovery: what has to be restored according to the logs of Kafka, and why Postgres cannot take it."""

import mmap
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from functools import partial
from hashlib import blake2b, sha256
from struct import Struct
from typing import NamedTuple

from worker.domain.command import DeadLetter
from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.store import sql
from worker.stream.log_reader import LogReader
from worker.tools.common.connected import Connected
from worker.tools.common.findings import Findings
from worker.tools.common.history import LOGS, NAMED_TO_THE_END, CommandWindow, History, Named, NamingLog, history
from worker.tools.common.result_record import Misfit, answer_of, letter_of
from worker.tools.lanes.restored_command import Contradiction, RestoredCommand, needs_letter, restore, source_of

MOST_PLACES = 5
_BYTES = 16
# The number of a log among `LOGS`, from 1 on, and an offset in it.
_PLACE = Struct(">qq")
_Row = tuple[object, ...]


class Firsts:
    """16 bytes for each offset of a range, in a temporary file, about the first record published for each command."""

    def __init__(self, start: int, memory: mmap.mmap) -> None:
        self._start, self._memory = start, memory

    def at(self, offset: int) -> bytes:
        """The bytes that are stored for an offset; zeros if none are."""
        at = (offset - self._start) * _BYTES
        return self._memory[at : at + _BYTES]

    def repeats(self, offset: int, value: bytes) -> bool | None:
        """None for the first value at an offset, which is stored; for others, whether they equal the first."""
        first = self.at(offset)
        if first == bytes(_BYTES):
            at = (offset - self._start) * _BYTES
            self._memory[at : at + _BYTES] = value
            return None
        return first == value


@contextmanager
def firsts(start: int, stop: int) -> Iterator[Firsts]:
    """Room for offsets from `start` to below `stop`; the file vanishes afterwards."""
    with tempfile.TemporaryFile() as file:
        # mmap refuses an empty file.
        file.truncate(max(1, (stop - start) * _BYTES))
        with mmap.mmap(file.fileno(), 0) as memory:
            yield Firsts(start, memory)


class LateResults:
    """Finds first results that come after those of many later commands: they were missing, and were replayed.

    The windows of their commands end before them. The logs are read to their ends once, at the first request.
    """

    def __init__(
        self, read_again: Callable[[], Awaitable[History]], reader: LogReader, results: Firsts, letters: Firsts
    ) -> None:
        """`read_again` returns the lane's history from its beginning."""
        self._read_again, self._reader, self._results, self._letters = read_again, reader, results, letters
        self._logs: Mapping[Kind | None, NamingLog] = {}

    async def of(self, offset: int) -> AsyncIterator[tuple[Kind | None, Record]]:
        """Yield the first result of a command, and its first dead letter, wherever they are."""
        if not self._logs:
            await self._note_places()
        for places in (self._results, self._letters):
            number, at = _PLACE.unpack(places.at(offset))
            if not number:
                continue
            kind = LOGS[number - 1]
            if (record := await self._reader.record(*self._logs[kind].place, at)) is not None:
                yield kind, record

    async def _note_places(self) -> None:
        history = await self._read_again()
        async for kind, records in history.named(NAMED_TO_THE_END):
            places, number = self._letters if kind is None else self._results, LOGS.index(kind) + 1
            for cause, record in records:
                if history.start <= cause < history.stop:
                    places.repeats(cause, _PLACE.pack(number, record.offset))
        self._logs = history.logs


class LanePlan:
    """Reads the history of a lane once, chunk by chunk. `refusals` are complete after the last chunk."""

    def __init__(self, history: History, group_id: str, late: LateResults, results: Firsts, letters: Firsts) -> None:
        """`results` and `letters` get digests."""
        self._history, self._group_id, self._late = history, group_id, late
        self._seen_results, self._seen_letters = results, letters
        self.refusals = Findings(MOST_PLACES)

    async def chunks(self) -> AsyncIterator[tuple[int, list[RestoredCommand]]]:
        """Yield the commands to restore, in order, with the offset after each chunk. Refused commands are left out."""
        async for window in self._history.windows():
            results, letters = dict[int, Answer | None](), dict[int, DeadLetter]()
            commands = {record.offset: record for record in window.commands}
            async for kind, named in self._history.named(window.stop):
                for record in named:
                    self._note(kind, record, commands, results, letters)
            # A result that was missing and was replayed comes after those of later commands. Without this look, the
            # recovery would call it missing, and every lane would stay halted.
            for offset in sorted(commands.keys() - results.keys()):
                async for kind, late in self._late.of(offset):
                    self._note(kind, Named(offset, late), commands, results, letters)
            yield window.stop, list(self._fitting(window, results, letters))

    def _note(
        self,
        kind: Kind | None,
        named: Named,
        commands: dict[int, Record],
        results: dict[int, Answer | None],
        letters: dict[int, DeadLetter],
    ) -> None:
        """Keep the result or dead letter that a record holds.

        A result that no worker publishes is kept as None, so that it does not count as missing.
        """
        offset, record = named
        if offset < self._history.start:
            return  # Postgres has this command: the search begins an hour early, since clocks differ
        command = self._place(offset)
        # All zeros mean no digest. No hash is all zeros.
        digest = blake2b(repr((kind, record.key, record.value, [*record.headers])).encode(), digest_size=_BYTES)
        repeats = (self._seen_letters if kind is None else self._seen_results).repeats(offset, digest.digest())
        if repeats is False:
            self.refusals.add("results-differ", command, f"{record.place} differs from what was published first")
        if repeats is not None:
            return
        original = commands.get(offset)
        if original is None:
            self.refusals.add("result-unasked", command, f"{record.place} names it, but it is no command")
            return
        try:
            source = source_of(original)
            if kind is None:
                letters[offset] = letter_of(record, source, self._group_id)
            else:
                results[offset] = answer_of(record, kind, source)
        except Misfit as misfit:
            results.setdefault(offset, None)
            self.refusals.add("result-contradicts", command, f"{record.place}: {misfit}")

    def _fitting(
        self, window: CommandWindow, results: dict[int, Answer | None], letters: dict[int, DeadLetter]
    ) -> Iterator[RestoredCommand]:
        for record in window.commands:
            offset = record.offset
            answer, letter, command = results.get(offset), letters.get(offset), self._place(offset)
            if answer is None:
                if offset not in results:
                    self.refusals.add("result-missing", command, "nothing was published that answers it")
                continue
            try:
                if needs_letter(answer) and letter is None:
                    text = "it could not be read, and no dead letter holds its copy"
                    self.refusals.add("dead-letter-missing", command, text)
                    continue
                yield restore(record, answer, letter)
            except Contradiction as error:
                self.refusals.add("result-contradicts", command, str(error))

    def _place(self, offset: int) -> Place:
        return Place(self._history.topic, self._history.partition, offset)


@asynccontextmanager
async def plan_from_kafka(
    both: Connected, partition: int, offsets: tuple[int, int], since: datetime
) -> AsyncIterator[LanePlan]:
    """The plan of a lane's commands at these offsets. Results are read from `since` on."""
    read = partial(history, both.reader, both.topics, partition, offsets, since)
    with ExitStack() as stack:
        results, letters, *places = [stack.enter_context(firsts(*offsets)) for _ in range(4)]
        yield LanePlan(await read(), both.settings.group_id, LateResults(read, both.reader, *places), results, letters)


class RefusedRow(NamedTuple):
    """A planned row that Postgres cannot take: an example for `total` such rows of its lane, by the lane's number."""

    code: str
    lane: int
    offset: int
    detail: str
    total: int


class PlannedRows:
    """The plan in temporary tables, which Postgres compares with what it holds. Raises `DATABASE_ERRORS`."""

    def __init__(self, connection: sql.Connection) -> None:
        self._connection = connection
        self._companies: set[str] = set()
        self._passports, self._charges = Counter[str](), Counter[str]()

    async def begin(self) -> None:
        """Create the tables; only this connection sees them."""
        # Joins over a whole plan take longer than the 20 s that this session allows other questions.
        await self._connection.execute("SET statement_timeout = '600s'")
        await self._connection.execute(sql.load("plan_tables", __package__))

    async def add(self, lane: int, commands: Sequence[RestoredCommand]) -> None:
        """Plan to restore these commands, and the passports they created. `lane` is the lane's number in the plan."""
        passports, replays, companies = list[_Row](), list[_Row](), list[_Row]()
        for answer, created in commands:
            digest = sha256(answer.value).digest()
            if created is not None:
                unit = (created.company_id, created.gtin, created.serial)
                passports.append((lane, answer.offset, created.passport_id, *unit, digest))
                self._passports[created.company_id] += 1
                self._charges[created.company_id] += created.overage_price_cents is not None
            if answer.replayed:
                replays.append((lane, answer.offset, answer.passport_id, digest))
            if answer.company_id is not None and answer.company_id not in self._companies:
                self._companies.add(answer.company_id)
                companies.append((lane, answer.offset, answer.company_id))
        for table, rows in (("passport", passports), ("replay", replays), ("company", companies)):
            await self._connection.copy_records_to_table(f"planned_{table}", records=rows, schema_name="pg_temp")

    async def refused(self) -> list[RefusedRow]:
        """Everything that Postgres cannot take, with `MOST_PLACES` places of each code and lane."""
        # Autovacuum cannot see temporary tables. Without statistics, Postgres would guess how many rows it joins.
        await self._connection.execute("ANALYZE planned_passport, planned_replay, planned_company")
        rows = await self._connection.fetch(sql.load("plan_refusals", __package__), MOST_PLACES)
        return [RefusedRow(*row) for row in rows]

    async def above_their_plan(self) -> list[tuple[str, int, int]]:
        """Companies that will have used more slots than they bought: id, slots used, and slots of their plan."""
        ids = sorted(self._companies)
        planned = [self._passports[id] for id in ids], [self._charges[id] for id in ids]
        rows = await self._connection.fetch(sql.load("slots_above_plan", __package__), ids, *planned)
        return [(row["company_id"], row["slots_used"], row["max_dpps"]) for row in rows]


async def ledger_rows(connection: sql.Connection, lane_id: int, start: int, stop: int) -> tuple[int, int | None]:
    """How many rows the ledger has at these offsets of a lane, and the offset of the first."""
    row = await connection.fetchrow(sql.load("ledger_rows_in", __package__), lane_id, start, stop)
    assert row is not None
    return row["rows"], row["first"]
