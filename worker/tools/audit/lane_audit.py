"""Compares one lane's history with its ledger: results missing, different, doubled, out of order or unasked."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence, Set
from math import inf

from worker.domain.command import Source
from worker.domain.places import Place
from worker.messages.events import Answer, Event, dead_letter_event, event_of
from worker.messages.rules import Kind
from worker.stream.published import CLOCKS_DIFFER
from worker.tools.audit.strays import Strays, prefix
from worker.tools.common.history import NAMED_TO_THE_END, CommandWindow, History, Named
from worker.tools.common.progress import Advance
from worker.tools.common.result_record import difference

MOST_PLACES = 20
# How long a result that is missing at the end may take to become visible.
LOOK_AGAIN_SECONDS = 10
# How many repeats are compared at once.
_LATE = 500
# Rows of the ledger that are nearer to each other than this are read together.
_NEAR = 2000
_CLOCKS_DIFFER_MS = CLOCKS_DIFFER.total_seconds() * 1000

# Returns the first rows of a lane at offsets from a start to below a stop, in order, as many as one query reads.
Ledger = Callable[[int, int], Awaitable[Sequence[Answer]]]
# Returns the offset from which the ledger of a lane is complete now.
LedgerBegins = Callable[[], Awaitable[int]]


class Repeats:
    """How often each offset of a range came again, up to 255 times, in one byte per offset."""

    def __init__(self, start: int, stop: int) -> None:
        self._start, self._size = start, stop - start
        self._counts = bytearray()  # allocated with the first repeat: most lanes have none
        self.total = 0

    def add(self, offset: int) -> None:
        """Count an offset once more."""
        if not self._counts:
            self._counts = bytearray(self._size)
        at = offset - self._start
        self._counts[at] = min(255, self._counts[at] + 1)
        self.total += 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self._start + at, count) for at, count in enumerate(self._counts) if count)


class AuditedLog:
    """The state of one log: of results of a kind, or, with kind None, of dead letters.

    `newest` is the newest command that had its first result, and `newest_at` the offset of that result.
    """

    def __init__(self, kind: Kind | None, start: int, stop: int) -> None:
        self.kind = kind
        self.prefix = prefix(kind)
        """The beginning of finding codes about this log."""
        self.newest = self.first = self.newest_at = -1
        self.missing: dict[int, int] = {}
        """The append times, in ms, of the commands whose records have not come yet, by offset."""
        self.repeats = Repeats(start, stop)

    def wants(self, answer: Answer) -> bool:
        """Whether this log holds a record of that answer."""
        return answer.dead_letter is not None if self.kind is None else answer.kind is self.kind


class LaneAudit:
    """Audits one lane. Its findings are complete once `run` has ended."""

    def __init__(self, history: History, ledger: Ledger, begins: LedgerBegins, group_id: str, strays: Strays) -> None:
        """`strays` gets the records of the history that name none of its commands."""
        history.tell(strays.meet)
        self._history, self._ledger, self._ledger_begins = history, ledger, begins
        self._group_id, self._strays = group_id, strays
        self.findings = strays.findings
        self.commands = self.results = self.expired = self.unchecked = 0
        self.logs = {kind: AuditedLog(kind, history.start, history.stop) for kind in history.logs}
        self._late: list[tuple[AuditedLog, Named]] = []

    async def run(self, advance: Advance) -> None:
        """Read the whole lane; `advance` gets the number of commands. Raises what the servers raise."""
        # The ledger is read for the next window while the previous one is compared.
        ahead: tuple[CommandWindow, asyncio.Task[Sequence[Answer]]] | None = None
        try:
            async for window in self._history.windows():
                current, ahead = ahead, (window, asyncio.ensure_future(self._ledger(window.start, window.stop)))
                if current is not None:
                    await self._window(*current, advance)
            if ahead is not None:
                await self._window(*ahead, advance)
        finally:
            if ahead is not None:
                ahead[1].cancel()
        await self._read_on()
        for _ in range(LOOK_AGAIN_SECONDS):
            if not any(log.missing for log in self.logs.values()) or not await self._look_again():
                break
        for log in self.logs.values():
            for offset, appended_ms in log.missing.items():
                if self._may_have_expired(log, offset, appended_ms):
                    self._count_expired(log)
                else:
                    self.add(f"{log.prefix}missing", offset, "the ledger has it, but it is not visible")

    async def _window(self, window: CommandWindow, first: Awaitable[Sequence[Answer]], advance: Advance) -> None:
        """Compare a window with the ledger, query by query."""
        offsets = {command.offset for command in window.commands}
        self.commands += len(offsets)
        start, answers = window.start, await first
        while True:
            stop = answers[-1].offset + 1 if answers else window.stop
            await self._compare(start, stop, {offset for offset in offsets if start <= offset < stop}, answers)
            if stop >= window.stop:
                break
            start, answers = stop, await self._ledger(stop, window.stop)
        await advance(len(offsets), len(offsets))

    async def _compare(self, start: int, stop: int, offsets: Set[int], answers: Sequence[Answer]) -> None:
        rows = {answer.offset: answer for answer in answers}
        without = offsets - rows.keys()
        # Housekeeping may drop days meanwhile, so ask after the rows were read.
        begins = await self._ledger_begins() if without else 0
        for offset in without:
            if offset < begins:
                self.expired += 1
            else:
                self.add("ledger-missing", offset, "the ledger has no row for it")
        for offset, answer in rows.items():
            self.logs[answer.kind].missing[offset] = answer.appended_ms
            if answer.dead_letter is not None:
                self.logs[None].missing[offset] = answer.appended_ms
        async for kind, records in self._history.named(stop):
            log = self.logs[kind]
            for named in records:
                if named.cause >= start:
                    self._result(log, named, rows.get(named.cause), is_asked=named.cause in offsets)
                elif named.cause >= self._history.start:
                    self._late.append((log, named))
            if len(self._late) >= _LATE:
                await self._compare_late()
            await self._strays.look()

    def _result(self, log: AuditedLog, named: Named, answer: Answer | None, *, is_asked: bool) -> None:
        """Compare a record that names a command; `answer` is the command's row of the ledger."""
        self.results += log.kind is not None
        cause, record = named
        if answer is None or not log.wants(answer):
            if not (answer is None and is_asked):  # else ledger-missing was noted, or the row was dropped
                self.add(f"{log.prefix}unasked", cause, f"{record.place} answers it, but the ledger has no such answer")
            return
        unlike = difference(self._wanted(log, answer), record)
        if unlike is not None:
            self.add(f"{log.prefix}different", cause, f"{unlike} of {record.place} is not that of the ledger")
        if cause not in log.missing:
            log.repeats.add(cause)
            return
        del log.missing[cause]
        log.first = cause if log.first < 0 else log.first
        if unlike is None:  # a forged result may be anywhere
            self._check_order(log, answer, record.offset)

    def _check_order(self, log: AuditedLog, answer: Answer, at: int) -> None:
        """Check the order of first results. The log is read in order, except for records held for later commands."""
        cause = answer.offset
        if cause < log.newest and self._may_have_expired(log, cause, answer.appended_ms):
            self._count_expired(log)  # the first result has expired, and this is a repeat
            log.repeats.add(cause)
        elif cause < log.newest:
            self._note_out_of_order(log, cause, at)
        elif at < log.newest_at:
            self._note_out_of_order(log, log.newest, log.newest_at)
        if cause > log.newest:
            log.newest, log.newest_at = cause, max(at, log.newest_at)

    def _note_out_of_order(self, log: AuditedLog, cause: int, at: int) -> None:
        place = Place(*self._history.logs[log.kind].place, at)
        self.add(f"{log.prefix}out-of-order", cause, f"{place} comes after a later command's")

    async def _compare_late(self) -> None:
        """Compare records of commands of earlier windows: repeats, or results that were missing until now."""
        late, self._late = sorted(self._late, key=lambda record: record[1].cause), []
        rows: dict[int, Answer] = {}
        read_to = begins = -1
        for at, (log, named) in enumerate(late):
            if named.cause > read_to:
                last = max(other.cause for _, other in late[at:] if other.cause < named.cause + _NEAR)
                answers = await self._ledger(named.cause, last + 1)
                read_to = answers[-1].offset if answers else last
                rows, begins = {answer.offset: answer for answer in answers}, -1
            answer = rows.get(named.cause)
            if answer is None and begins < 0:
                begins = await self._ledger_begins()
            self._result(log, named, answer, is_asked=answer is not None or named.cause < begins)

    async def _read_on(self) -> None:
        """Read the logs to their ends: repeats of these commands may come anywhere later."""
        async for kind, records in self._history.named(NAMED_TO_THE_END):
            for named in records:
                if named.cause >= self._history.stop:
                    self._strays.meet(kind, named.record, named.cause)
                elif named.cause >= self._history.start:
                    self._late.append((self.logs[kind], named))
            if len(self._late) >= _LATE:
                await self._compare_late()
            await self._strays.look()
        await self._compare_late()
        await self._strays.look(1)

    async def _look_again(self) -> bool:
        """Compare what became visible meanwhile. False if everything that is missing may have expired."""
        if all(self._may_have_expired(log, *at) for log in self.logs.values() for at in log.missing.items()):
            return False
        await asyncio.sleep(1.0)
        await self._history.look_again()
        await self._read_on()
        return True

    def _may_have_expired(self, log: AuditedLog, offset: int, appended_ms: int) -> bool:
        """Whether the log has dropped records as old as the first result of this command."""
        # Any old log has dropped something. A missing result has expired only if its command is as old as that.
        # Clocks of brokers may differ by an hour.
        is_old = appended_ms <= self._history.logs[log.kind].dropped_ms + _CLOCKS_DIFFER_MS
        # A log drops its oldest records first, so a result after one that is left cannot have expired.
        return is_old and (log.first < 0 or offset < log.first)

    def _count_expired(self, log: AuditedLog) -> None:
        if self._history.logs[log.kind].dropped_ms == inf:
            self.unchecked += 1
        else:
            self.expired += 1

    def _wanted(self, log: AuditedLog, answer: Answer) -> Event:
        topic, partition = self._history.topic, self._history.partition
        if log.kind is not None:
            return event_of(answer, topic, partition)
        assert answer.dead_letter is not None
        source = Source(topic, partition, answer.offset, answer.appended_ms)
        return dead_letter_event(answer.dead_letter, source, self._group_id)

    def add(self, code: str, offset: int, text: str) -> None:
        """Note a finding about the command at an offset."""
        self.findings.add(code, Place(self._history.topic, self._history.partition, offset), text)
