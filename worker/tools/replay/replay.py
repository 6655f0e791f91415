"""`passport-worker replay`: answers of the ledger once more, byte for byte, beside running workers, without effect."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from worker.messages.answers import outcome_code
from worker.messages.events import Answer
from worker.stream.log_reader import LogReader
from worker.stream.producer import EmissionFailed
from worker.tools.common.group_view import group_view
from worker.tools.common.inspection import Inspection, LaneRow, emitted_of, inspection, position_in
from worker.tools.common.journal import Operation, UnknownOperation, operation, resumed
from worker.tools.common.progress import Advance, Progress, paced
from worker.tools.common.selection import BadSelection, Offsets, Range, offsets_of
from worker.tools.common.servers import SERVER_ERRORS, Servers
from worker.tools.replay.replaying import Replayer, with_suffix
from worker.tools.replay.report import ReplayedLane, ReplayReport

VERB = "replay"


@dataclass(frozen=True)
class Chosen:
    """Which answers of a range; None and nothing: all."""

    outcomes: tuple[str, ...] = ()
    company: str | None = None
    key: str | None = None
    passport: str | None = None

    def fits(self, answer: Answer) -> bool:
        """Whether it is one of them."""
        return (
            (self.company is None or answer.company_id == self.company)
            and (self.key is None or answer.key == self.key)
            and (self.passport is None or answer.passport_id == self.passport)
            and (not self.outcomes or outcome_code(answer) in self.outcomes)
        )


@dataclass(frozen=True)
class Request:
    """What to repeat, how fast (records a second, 0: as fast as it goes), and to topics with which suffix."""

    range: Range
    chosen: Chosen
    rate: float
    topic_suffix: str
    reason: str | None
    """None: only say what would be done."""


class CannotReplay(Exception):
    """It has stopped; the text says where, why, and how to go on. What was published stays.

    `id` is the replay's, where it had begun.
    """

    def __init__(self, text: str, id: UUID | None = None) -> None:
        super().__init__(text if id is None else f"{text} Go on with `passport-worker replay --resume {id}`.")
        self.id = id


@dataclass(slots=True)
class _Count:
    next: int
    records: int = 0
    bytes: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, answers: Sequence[Answer]) -> None:
        for one in answers:
            self.records += 1 + (one.dead_letter is not None)
            self.bytes += len(one.value) + len((one.dead_letter and one.dead_letter.value) or b"")
            self.outcomes[outcome_code(one)] += 1


async def replay(servers: Servers, request: Request, progress: Progress) -> ReplayReport:
    """Repeat what was chosen, or say what that would be.

    Raises `SERVER_ERRORS`, `BadSelection` and `CannotReplay`.
    """
    settings = servers.settings
    async with inspection(settings.database_url) as database:
        await _expect_topics(servers, request.topic_suffix)
        offsets = await _offsets(servers, database, request.range)
        rate = 0.0 if request.reason is None else request.rate
        one = _Replay(servers, database, request.chosen, request.topic_suffix, paced(progress, rate))
        if request.reason is None:
            progress.begin("counting", _size(offsets))
            return _report(settings.topic_commands, None, offsets, await one.count(offsets))
        arguments: dict[str, Any] = {
            "topic": settings.topic_commands,
            "offsets": [[at, *each] for at, each in offsets.items()],
            "chosen": asdict(request.chosen),
            "topic_suffix": request.topic_suffix,
        }
        if not request.topic_suffix:
            arguments["repeats"] = arguments["offsets"]  # which `audit` accounts for
        async with operation(database, VERB, request.reason, arguments) as kept:
            progress.begin(f"replay {kept.id}", _size(offsets))
            return _report(settings.topic_commands, kept.id, offsets, await one.run(offsets, kept))


async def resume(servers: Servers, id: UUID, rate: float, progress: Progress) -> ReplayReport:
    """Go on with a replay where it stopped, whoever runs it; that one is fenced. Raises what `replay` does."""
    settings = servers.settings
    async with inspection(settings.database_url) as database, AsyncExitStack() as stack:
        try:
            kept = await stack.enter_async_context(resumed(database, VERB, id))
        except UnknownOperation as error:
            raise BadSelection(str(error)) from error
        arguments = kept.arguments
        if arguments["topic"] != settings.topic_commands:
            raise BadSelection(f"that replay is of {arguments['topic']}, and PASSPORT_TOPIC_COMMANDS is another topic")
        offsets = {at: (start, stop) for at, start, stop in arguments["offsets"]}
        chosen = Chosen(**arguments["chosen"] | {"outcomes": tuple(arguments["chosen"]["outcomes"])})
        progress.begin(f"replay {id}", _size(offsets))
        one = _Replay(servers, database, chosen, arguments["topic_suffix"], paced(progress, rate))
        return _report(settings.topic_commands, id, offsets, await one.run(offsets, kept))


async def _offsets(servers: Servers, database: Inspection, chosen: Range) -> dict[int, Offsets]:
    """What the ledger has of the range, up to E. Raises `BadSelection` where it begins before the ledger does."""
    settings = servers.settings
    view = await group_view(settings, servers.cluster)
    rows = await database.lanes(settings.group_id, settings.topic_commands)
    bounds = {}
    for at, one in view.items():
        first = position_in(rows.get(at)).ledger_from
        bounds[at] = (first, max(first, emitted_of(rows.get(at), one.committed and one.committed.offset)))
    first_since = partial(LogReader(servers.cluster).first_since, settings.topic_commands)
    found = await offsets_of(chosen, bounds, first_since)
    if chosen.start is not None:
        whole = {at: (0, bounds[at][1]) for at in found}
        asked = await offsets_of(Range(tuple(found), chosen.start), whole, first_since)
        for at in found:
            if asked[at][0] < (begins := bounds[at][0]):
                raise BadSelection(f"the ledger of partition {at} begins at {begins}: expected --from at or behind it")
    return found


async def _expect_topics(servers: Servers, suffix: str) -> None:
    """Raises `BadSelection` unless the topics of that suffix are as those of the results."""
    ours, theirs = servers.settings, with_suffix(servers.settings, suffix)
    names = [one.answer_topics for one in (ours, theirs)]
    counts = await servers.cluster.partition_counts(sorted({*names[0], *names[1]}))
    for name, other in zip(*names, strict=True):
        wanted, there = counts.get(name), counts.get(other)
        if wanted != there:
            raise BadSelection(
                f"expected a topic {other} of {wanted} partitions, as {name} has, found {there or 'none'}"
            )


def _size(offsets: Mapping[int, Offsets]) -> int:
    return sum(stop - start for start, stop in offsets.values())


class _Replay:
    """Partition after partition, window after window."""

    def __init__(self, servers: Servers, database: Inspection, chosen: Chosen, suffix: str, advance: Advance) -> None:
        self._servers, self._database, self._chosen = servers, database, chosen
        self._suffix, self._advance = suffix, advance
        self._topic = servers.settings.topic_commands

    async def count(self, offsets: Mapping[int, Offsets]) -> dict[int, _Count]:
        """What would be published."""
        counts = {}
        for at, (start, stop) in offsets.items():
            counts[at] = _Count(start)
            async for _, answers in self._windows(at, start, stop):
                counts[at].add(answers)
        return counts

    async def run(self, offsets: Mapping[int, Offsets], kept: Operation) -> dict[int, _Count]:
        """Publish it, from where the operation's own group stands."""
        counts = {}
        for at, (start, stop) in offsets.items():
            replayer = Replayer(self._servers.settings, str(kept.id), at, self._suffix)
            try:
                counts[at] = _Count(await self._begin(replayer, at, start, kept))
                async for end, answers in self._windows(at, counts[at].next, stop):
                    await replayer.send(answers, end)
                    counts[at].add(answers)
                    counts[at].next = end
            except (EmissionFailed, *SERVER_ERRORS) as error:
                raise CannotReplay(f"Partition {at}: {error}.", kept.id) from error
            finally:
                await replayer.close()
        return counts

    async def _begin(self, replayer: Replayer, partition: int, start: int, kept: Operation) -> int:
        """Where it goes on. Its group has the first offset before anything is published, and Postgres knows that."""
        found = await replayer.start(self._servers.cluster)
        if found is not None:
            return found
        if str(partition) in kept.progress:
            raise CannotReplay(f"Kafka has forgotten how far partition {partition} was: begin a new one behind it.")
        await replayer.send([], start)
        kept.progress[str(partition)] = start
        await kept.note(self._database)
        return start

    async def _windows(self, partition: int, start: int, stop: int) -> AsyncIterator[tuple[int, list[Answer]]]:
        """Chosen answers of each window, and the offset behind it. Raises `CannotReplay`."""
        row = (await self._rows()).get(partition)
        while start < stop:
            answers = [] if row is None else await self._database.ledger(row.id, start, stop)
            if start < (begins := position_in((await self._rows()).get(partition)).ledger_from):
                raise CannotReplay(f"The ledger of partition {partition} begins at {begins} by now: days were dropped.")
            end = answers[-1].offset + 1 if answers else stop
            chosen = [one for one in answers if self._chosen.fits(one)]
            yield end, chosen
            await self._advance(end - start, len(chosen))
            start = end

    async def _rows(self) -> Mapping[int, LaneRow]:
        return await self._database.lanes(self._servers.settings.group_id, self._topic)


def _report(topic: str, id: UUID | None, offsets: Mapping[int, Offsets], counts: Mapping[int, _Count]) -> ReplayReport:
    return ReplayReport(
        problems=(),
        id=None if id is None else str(id),
        executed=id is not None,
        lanes=tuple(
            ReplayedLane(
                topic=topic,
                partition=at,
                start=offsets[at][0],
                stop=offsets[at][1],
                next=one.next,
                records=one.records,
                bytes=one.bytes,
                outcomes=dict(one.outcomes),
            )
            for at, one in counts.items()
        ),
    )
