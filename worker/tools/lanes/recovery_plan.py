"""What has to be restored of one lane, and why it cannot be: its commands beside what was published of them."""

import mmap
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import blake2b

from worker.domain.command import DeadLetter
from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.stream.log_reader import LogReader
from worker.tools.common.findings import Findings
from worker.tools.common.history import History, Named, Topics, Window, history
from worker.tools.common.refits import Contradiction, Restored, needs_letter, restored, source_of
from worker.tools.common.result_record import Misfit, answer_of, letter_of
from worker.tools.lanes.lost import Lost
from worker.tools.lanes.restoring import MOST_PLACES

_DIGEST = 16


class Digests:
    """A digest for each offset of a range, in a temporary file: what was published first of a command."""

    def __init__(self, start: int, memory: mmap.mmap) -> None:
        self._start, self._memory = start, memory

    def repeats(self, offset: int, digest: bytes) -> bool | None:
        """None for the first at an offset, which is kept; else whether it is the same."""
        at = (offset - self._start) * _DIGEST
        kept = self._memory[at : at + _DIGEST]
        if kept == bytes(_DIGEST):
            self._memory[at : at + _DIGEST] = digest
            return None
        return kept == digest


@contextmanager
def digests(start: int, stop: int) -> Iterator[Digests]:
    """Of offsets from `start` to below `stop`; the file is gone afterwards."""
    with tempfile.TemporaryFile() as file:
        file.truncate(max(1, (stop - start) * _DIGEST))
        with mmap.mmap(file.fileno(), 0) as memory:
            yield Digests(start, memory)


class LanePlan:
    """Reads the history of a lane once, chunk by chunk; `refusals` are complete when it has ended."""

    def __init__(self, history: History, group_id: str, seen: tuple[Digests, Digests]) -> None:
        """`seen` are digests of the results and of the dead letters of the history's offsets."""
        self._history, self._group_id, self._seen = history, group_id, seen
        self.refusals = Findings(MOST_PLACES)

    async def chunks(self) -> AsyncIterator[tuple[int, list[Restored]]]:
        """What has to be restored, in order, and the offset behind each chunk; refused commands are not among it."""
        async for window in self._history.windows():
            results, letters = dict[int, Answer | None](), dict[int, DeadLetter]()
            commands = {record.offset: record for record in window.commands}
            async for kind, found in self._history.named(window.stop):
                for one in found:
                    self._note(kind, one, commands, results, letters)
            yield window.stop, list(self._fitting(window, results, letters))

    def _note(
        self,
        kind: Kind | None,
        one: Named,
        commands: dict[int, Record],
        results: dict[int, Answer | None],
        letters: dict[int, DeadLetter],
    ) -> None:
        """Keep what a record says; None for a result that no worker publishes."""
        if one.cause < self._history.start:
            return  # Postgres has it; it is as old as the hour before
        record, place = one.record, self._place(one.cause)
        repeats = self._seen[kind is None].repeats(one.cause, _digest(kind, record))
        if repeats is False:
            self.refusals.add("results-differ", place, f"{record.place} differs from what was published first")
        if repeats is not None:
            return
        command = commands.get(one.cause)
        if command is None:
            self.refusals.add("result-unasked", place, f"{record.place} names it, and it is no command")
            return
        try:
            source = source_of(command)
            if kind is None:
                letters[one.cause] = letter_of(record.key, record.value, record.headers, source, self._group_id)
            else:
                results[one.cause] = answer_of(record.key, record.value, record.headers, kind, source)
        except Misfit as misfit:
            results.setdefault(one.cause, None)
            self.refusals.add("result-contradicts", place, f"{record.place}: {misfit}")

    def _fitting(
        self, window: Window, results: dict[int, Answer | None], letters: dict[int, DeadLetter]
    ) -> Iterator[Restored]:
        for record in window.commands:
            answer, letter = results.get(record.offset), letters.get(record.offset)
            place = self._place(record.offset)
            if answer is None:
                if record.offset not in results:
                    self.refusals.add("result-missing", place, "nothing was published that answers it")
                continue
            try:
                if needs_letter(answer) and letter is None:
                    self.refusals.add("dead-letter-missing", place, "it could not be read, and there is no copy of it")
                    continue
                yield restored(record, answer, letter)
            except Contradiction as error:
                self.refusals.add("result-contradicts", place, str(error))

    def _place(self, offset: int) -> Place:
        return Place(self._history.topic, self._history.partition, offset)


@asynccontextmanager
async def planned(reader: LogReader, topics: Topics, lost: Lost, group_id: str) -> AsyncIterator[LanePlan]:
    """The plan of a lane, read from Kafka."""
    offsets = (lost.applied, lost.target)
    logs = await history(reader, topics, lost.partition, offsets, lost.since)
    with digests(*offsets) as results, digests(*offsets) as letters:
        yield LanePlan(logs, group_id, (results, letters))


def _digest(kind: Kind | None, record: Record) -> bytes:
    """Never all zero, which stands for none."""
    digest = blake2b(repr((kind, record.key, record.value, [*record.headers])).encode(), digest_size=_DIGEST)
    return digest.digest()
