"""One lane's history beside its ledger: which results are missing, different, doubled, out of order or unasked."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence, Set

from worker.domain.command import Source
from worker.domain.places import Place
from worker.messages.events import Answer, Event, dead_letter_event, event_of
from worker.messages.rules import Kind
from worker.tools.audit.strays import Strays, prefix
from worker.tools.common.history import NAMED_TO_THE_END, History, Named, Window
from worker.tools.common.progress import Advance
from worker.tools.common.result_record import difference

MOST_PLACES = 20
LOOK_AGAIN_SECONDS = 10
"""How long what is missing at the end may take to become visible."""
_LATE = 500
"""So many repeats are compared at once."""
_NEAR = 2000
"""Rows of the ledger so near to each other are read together."""

Ledger = Callable[[int, int], Awaitable[Sequence[Answer]]]
"""The first rows of the lane at offsets from the first to below the second, in order, as many as are read at once."""


class Repeats:
    """How often each offset of a range came again, up to 255 times; a byte an offset, once there is any."""

    def __init__(self, start: int, stop: int) -> None:
        self._start, self._size = start, stop - start
        self._counts = bytearray()
        self.total = 0

    def add(self, offset: int) -> None:
        """Once more."""
        if not self._counts:
            self._counts = bytearray(self._size)
        at = offset - self._start
        self._counts[at] = min(255, self._counts[at] + 1)
        self.total += 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self._start + at, count) for at, count in enumerate(self._counts) if count)


class Log:
    """What came of one log: results of a kind, or, where that is None, dead letters."""

    def __init__(self, kind: Kind | None, start: int, stop: int) -> None:
        self.kind = kind
        self.newest = self.first = self.newest_at = -1
        self.missing: dict[int, None] = {}
        self.repeats = Repeats(start, stop)

    @property
    def prefix(self) -> str:
        """What codes of findings about it begin with."""
        return prefix(self.kind)

    def wants(self, answer: Answer) -> bool:
        """Whether something of that answer goes there."""
        return answer.dead_letter is not None if self.kind is None else answer.kind is self.kind


class LaneAudit:
    """Audits one lane; what it has found is complete when `run` has ended."""

    def __init__(self, history: History, ledger: Ledger, group_id: str, strays: Strays) -> None:
        """The history tells `strays` of what is none of its commands'."""
        history.tell(strays.meet)
        self._history, self._ledger, self._group_id, self._strays = history, ledger, group_id, strays
        self.findings = strays.findings
        self.commands = self.results = self.expired = 0
        self.logs = {kind: Log(kind, history.start, history.stop) for kind in history.logs}
        self._late: list[tuple[Log, Named]] = []

    async def run(self, advance: Advance) -> None:
        """Read it all; `advance` is told of commands. Raises what the servers do."""
        ahead: tuple[Window, asyncio.Task[Sequence[Answer]]] | None = None
        try:
            async for window in self._history.windows():  # the ledger is asked for one while the one before is compared
                found, ahead = ahead, (window, asyncio.ensure_future(self._ledger(window.start, window.stop)))
                if found is not None:
                    await self._window(*found)
                    await advance(len(found[0].commands), len(found[0].commands))
            if ahead is not None:
                await self._window(*ahead)
                await advance(len(ahead[0].commands), len(ahead[0].commands))
        finally:
            if ahead is not None:
                ahead[1].cancel()
        await self._read_on()
        for _ in range(LOOK_AGAIN_SECONDS):
            if not any(log.missing for log in self.logs.values()) or not await self._look_again():
                break
        for log in self.logs.values():
            for offset in log.missing:
                self._note_missing(log, offset)

    async def _window(self, window: Window, first: Awaitable[Sequence[Answer]]) -> None:
        """Compare it, as many rows of the ledger at a time as come together."""
        asked = {command.offset for command in window.commands}
        self.commands += len(asked)
        start, answers = window.start, await first
        while True:
            stop = answers[-1].offset + 1 if answers else window.stop
            await self._compare(start, stop, {offset for offset in asked if start <= offset < stop}, answers)
            if stop >= window.stop:
                break
            start, answers = stop, await self._ledger(stop, window.stop)

    async def _compare(self, start: int, stop: int, asked: Set[int], answers: Sequence[Answer]) -> None:
        rows = {answer.offset: answer for answer in answers}
        for offset in asked - rows.keys():
            self.add("ledger-missing", offset, "the ledger has no row of it")
        for offset, answer in rows.items():
            self.logs[answer.kind].missing[offset] = None
            if answer.dead_letter is not None:
                self.logs[None].missing[offset] = None
        async for kind, found in self._history.named(stop):
            log = self.logs[kind]
            for one in found:
                if one.cause >= start:
                    self._result(log, one, rows.get(one.cause), is_asked=one.cause in asked)
                elif one.cause >= self._history.start:
                    self._late.append((log, one))
            if len(self._late) >= _LATE:
                await self._compare_late()
            await self._strays.look()

    def _result(self, log: Log, one: Named, answer: Answer | None, *, is_asked: bool) -> None:
        """One record that names a command, whose row of the ledger is `answer`."""
        self.results += log.kind is not None
        cause = one.cause
        if answer is None or not log.wants(answer):
            if not (answer is None and is_asked):  # that the ledger lacks it was noted
                self.add(f"{log.prefix}unasked", cause, f"{one.record.place} answers it, and it has no such answer")
            return
        record = one.record
        unlike = difference(self._wanted(log, answer), record.key, record.value, record.headers)
        if unlike is not None:
            self.add(f"{log.prefix}different", cause, f"{unlike} of {record.place} is not that of the ledger")
        if cause not in log.missing:
            log.repeats.add(cause)
            return
        del log.missing[cause]
        log.first = cause if log.first < 0 else log.first
        if unlike is None:  # a forged one may stand anywhere
            self._check_order(log, cause, record.offset)

    def _check_order(self, log: Log, cause: int, at: int) -> None:
        """Of first results: the log is read in order but for some that were held, since they name later commands."""
        if cause < log.newest and self._has_expired(log, cause):
            self.expired += 1  # and this is the repeat of it
            log.repeats.add(cause)
        elif cause < log.newest:
            self._note_out_of_order(log, cause, at)
        elif at < log.newest_at:
            self._note_out_of_order(log, log.newest, log.newest_at)
        if cause > log.newest:
            log.newest, log.newest_at = cause, max(at, log.newest_at)

    def _note_out_of_order(self, log: Log, cause: int, at: int) -> None:
        place = Place(*self._history.logs[log.kind].place, at)
        self.add(f"{log.prefix}out-of-order", cause, f"{place} stands behind a later command's")

    async def _compare_late(self) -> None:
        """Records of commands of earlier windows: repeats, or what was missing until now."""
        late, self._late = sorted(self._late, key=lambda each: each[1].cause), []
        rows: dict[int, Answer] = {}
        known = -1
        for at, (log, one) in enumerate(late):
            if one.cause > known:
                last = max(each.cause for _, each in late[at:] if each.cause < one.cause + _NEAR)
                answers = await self._ledger(one.cause, last + 1)
                known = answers[-1].offset if answers else last
                rows = {answer.offset: answer for answer in answers}
            answer = rows.get(one.cause)
            self._result(log, one, answer, is_asked=answer is not None)

    async def _read_on(self) -> None:
        """Repeats of these commands may stand anywhere behind, up to where the logs end."""
        async for kind, found in self._history.named(NAMED_TO_THE_END):
            for one in found:
                if one.cause >= self._history.stop:
                    self._strays.meet(kind, one.record, one.cause)
                elif one.cause >= self._history.start:
                    self._late.append((self.logs[kind], one))
            if len(self._late) >= _LATE:
                await self._compare_late()
            await self._strays.look()
        await self._compare_late()
        await self._strays.look(1)

    async def _look_again(self) -> bool:
        """What became visible meanwhile; False where all that is missing has expired."""
        if all(self._has_expired(log, offset) for log in self.logs.values() for offset in log.missing):
            return False
        await asyncio.sleep(1.0)
        await self._history.look_again()
        await self._read_on()
        return True

    def _note_missing(self, log: Log, offset: int) -> None:
        if self._has_expired(log, offset):
            self.expired += 1
        else:
            self.add(f"{log.prefix}missing", offset, "nothing is visible of what the ledger says")

    def _has_expired(self, log: Log, offset: int) -> bool:
        """Whether the log has dropped records that old."""
        return self._history.logs[log.kind].has_dropped and (log.first < 0 or offset < log.first)

    def _wanted(self, log: Log, answer: Answer) -> Event:
        topic, partition = self._history.topic, self._history.partition
        if log.kind is not None:
            return event_of(answer, topic, partition)
        assert answer.dead_letter is not None
        source = Source(topic, partition, answer.offset, answer.appended_ms)
        return dead_letter_event(answer.dead_letter, source, self._group_id)

    def add(self, code: str, offset: int, text: str) -> None:
        """Note a finding about a command."""
        self.findings.add(code, Place(self._history.topic, self._history.partition, offset), text)
