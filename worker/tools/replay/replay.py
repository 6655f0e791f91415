"""`passport-worker replay`: publishes answers of the ledger again, byte for byte, while workers run."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from shlex import quote
from typing import Any, NamedTuple
from uuid import UUID

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from worker.messages.events import Answer
from worker.observability.hooks import Hooks
from worker.settings import Settings
from worker.store.port import LaneName
from worker.stream.cluster.connection import Cluster
from worker.stream.log_reader import LogReader
from worker.stream.producer import EmissionFailed, Emitter
from worker.tools.common.answers import outcome_code
from worker.tools.common.group_view import group_view
from worker.tools.common.inspection import Inspection, LaneRow, emitted_of, inspection, position_in
from worker.tools.common.journal import Author, Operation, UnknownOperation, operation, resumed
from worker.tools.common.progress import Advance, Progress, paced
from worker.tools.common.selection import BadSelection, Offsets, Range, offsets_of
from worker.tools.common.servers import SERVER_ERRORS, Servers
from worker.tools.replay.destination import Destination, offsets_of_lost_lanes
from worker.tools.replay.report import ReplayedLane, ReplayReport

VERB = "replay"
Ranges = Mapping[int, Offsets]


@dataclass(frozen=True)
class AnswerFilter:
    """Which answers of a range to repeat. None, or no outcomes, means all. The fields are stored as arguments."""

    outcomes: tuple[str, ...] = ()
    company: str | None = None
    key: str | None = None
    passport: str | None = None

    def fits(self, answer: Answer) -> bool:
        """Whether the answer is to be repeated."""
        return (
            (self.company is None or answer.company_id == self.company)
            and (self.key is None or answer.key == self.key)
            and (self.passport is None or answer.passport_id == self.passport)
            and (not self.outcomes or outcome_code(answer) in self.outcomes)
        )


@dataclass(frozen=True)
class ReplayRequest:
    """The answers to repeat, the most records per second (0: no limit), and where they go.

    Without an author, the replay only says what it would do.
    """

    range: Range
    filter: AnswerFilter
    rate: float
    destination: Destination
    author: Author | None


class CannotReplay(Exception):
    """A replay has stopped; the text says where, why, and how to continue. Published results stay."""

    def __init__(self, text: str, id: UUID | None = None, channel: str = "", into: str | None = None) -> None:
        options = f" --channel {quote(channel)}" if channel or into is not None else ""
        options += "" if into is None else f" --into {quote(into)}"
        command = f"passport-worker replay --resume {id}{options}"
        super().__init__(text if id is None else f"{text} Continue with `{command}`.")
        self.id = id  # None if the replay had not begun


@dataclass(slots=True)
class _Counts:
    """Counts of a partition's answers below `next` that were published, or would be."""

    next: int
    records: int = 0
    bytes: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            letter = answer.dead_letter
            self.records += 1 if letter is None else 2
            self.bytes += len(answer.value) + len((letter and letter.value) or b"")
            self.outcomes[outcome_code(answer)] += 1


async def replay(servers: Servers, request: ReplayRequest, progress: Progress) -> ReplayReport:
    """Repeat the chosen answers; without an author, only count them.

    Raises `SERVER_ERRORS`, `BadSelection` and `CannotReplay`.
    """
    settings, topic = servers.settings, servers.settings.topic_commands
    async with inspection(settings.database) as database:
        destination = request.destination
        await destination.expect_topics(servers)
        find = _offsets if destination.into is None else offsets_of_lost_lanes
        offsets = await find(servers, database, request.range)
        advance = paced(progress, 0.0 if request.author is None else request.rate)
        replaying = _Replay(servers, database, request.filter, destination, advance)
        if request.author is None:
            progress.begin("counting", _size(offsets))
            return _report(topic, None, offsets, await replaying.count(offsets))
        arguments: dict[str, Any] = {
            "topic": topic,
            "offsets": [[at, start, stop] for at, (start, stop) in offsets.items()],
            "chosen": asdict(request.filter),
            "topic_suffix": destination.suffix,
            "into": destination.channel,
        }
        if destination == Destination():
            arguments["repeats"] = arguments["offsets"]  # `audit` expects repeats of these
        async with operation(database.connection, VERB, request.author, arguments) as begun:
            progress.begin(f"replay {begun.id}", _size(offsets))
            return _report(topic, begun.id, offsets, await replaying.run(offsets, begun))


async def resume(  # noqa: PLR0913 - the options of `replay --resume`
    servers: Servers, id: UUID, author: Author, rate: float, progress: Progress, into: Settings | None = None
) -> ReplayReport:
    """Continue a replay where it stopped, and fence a process that still runs it. Raises what `replay` raises."""
    topic = servers.settings.topic_commands
    async with inspection(servers.settings.database) as database, AsyncExitStack() as stack:
        try:
            begun = await stack.enter_async_context(resumed(database.connection, VERB, id, author))
        except UnknownOperation as error:
            raise BadSelection(str(error)) from error
        arguments = begun.arguments
        if arguments["topic"] != topic:
            text = f"that replay is of {arguments['topic']}, but this channel has {topic}: choose another --channel"
            raise BadSelection(text)
        offsets = {at: (start, stop) for at, start, stop in arguments["offsets"]}
        chosen = AnswerFilter(**arguments["chosen"] | {"outcomes": tuple(arguments["chosen"]["outcomes"])})
        destination = Destination(arguments["topic_suffix"], into)
        if (into_channel := arguments.get("into")) != destination.channel:
            expected = "no --into" if into_channel is None else f"--into {quote(into_channel)}"
            raise BadSelection(f"expected {expected}, with which that replay was begun")
        progress.begin(f"replay {id}", _size(offsets))
        replaying = _Replay(servers, database, chosen, destination, paced(progress, rate))
        return _report(topic, id, offsets, await replaying.run(offsets, begun))


async def _offsets(servers: Servers, database: Inspection, chosen: Range) -> dict[int, Offsets]:
    """The part of a range that the ledger has, up to E. Raises `BadSelection` if the range begins before the ledger."""
    settings = servers.settings
    view = await group_view(settings, servers.cluster)
    rows = await database.lanes(settings.group_id, settings.topic_commands)
    begins = {at: position_in(rows.get(at)).ledger_from for at in view}
    ends = {at: emitted_of(rows.get(at), seen.committed) for at, seen in view.items()}
    # From 0 on: a start below the ledger must be refused, not silently moved up.
    bounds = {at: (0, max(begins[at], ends[at])) for at in view}
    first_since = partial(LogReader(servers.cluster).first_since, settings.topic_commands)
    ranges = await offsets_of(chosen, bounds, first_since)
    if chosen.start is not None and (early := [at for at, (start, _) in ranges.items() if start < begins[at]]):
        begin = begins[early[0]]
        raise BadSelection(f"the ledger of partition {early[0]} begins at {begin}: expected --from at or after it")
    return {at: (max(start, begins[at]), max(start, stop, begins[at])) for at, (start, stop) in ranges.items()}


def _size(offsets: Ranges) -> int:
    return sum(stop - start for start, stop in offsets.values())


class _Replay:
    """Reads and publishes partition by partition, window by window."""

    def __init__(
        self, servers: Servers, database: Inspection, chosen: AnswerFilter, destination: Destination, advance: Advance
    ) -> None:
        self._servers, self._database, self._chosen = servers, database, chosen
        self._destination, self._advance = destination, advance

    async def count(self, offsets: Ranges) -> dict[int, _Counts]:
        """Count what would be published."""
        counts = {}
        for at, (start, stop) in offsets.items():
            counts[at] = _Counts(start)
            async for _, answers in self._windows(at, start, stop):
                counts[at].add(answers)
        return counts

    async def run(self, offsets: Ranges, begun: Operation) -> dict[int, _Counts]:
        """Publish the answers, each partition from the offset of the operation's group on."""
        counts = {}
        for at, (start, stop) in offsets.items():
            replayer = Replayer(self._servers.settings, str(begun.id), at, self._destination)
            try:
                counts[at] = _Counts(await self._begin(replayer, at, start, begun))
                async for end, answers in self._windows(at, counts[at].next, stop):
                    await replayer.send(answers, end)
                    counts[at].add(answers)
                    counts[at].next = end
            except (EmissionFailed, *SERVER_ERRORS) as error:
                channel, into = self._servers.settings.channel, self._destination.channel
                raise CannotReplay(f"Partition {at}: {error}.", begun.id, channel, into) from error
            finally:
                await replayer.close()
        return counts

    async def _begin(self, replayer: "Replayer", partition: int, start: int, begun: Operation) -> int:
        """The offset to continue at. Before the first result, the group gets its first offset, and Postgres a note."""
        offset = await replayer.start(self._servers.cluster)
        if offset is not None:
            return offset
        if str(partition) in begun.progress:
            text = f"Kafka has forgotten the progress of partition {partition}: begin a new replay of what is left."
            raise CannotReplay(text)
        # Kafka first. The other way around, a crash in between would look like an offset that Kafka has forgotten.
        await replayer.send([], start)
        begun.progress[str(partition)] = start
        await begun.note(self._database.connection)
        return start

    async def _windows(self, partition: int, start: int, stop: int) -> AsyncIterator[tuple[int, list[Answer]]]:
        """Yield the chosen answers of each window, and the offset after it. Raises `CannotReplay`."""
        row = await self._lane(partition)
        while start < stop:
            answers = [] if row is None else await self._database.ledger(row.id, start, stop)
            # Days may be dropped while a replay runs. Without this look after each read, the gap would go unnoticed.
            if start < (begins := position_in(await self._lane(partition)).ledger_from):
                raise CannotReplay(f"The ledger of partition {partition} now begins at {begins}: days were dropped.")
            end = answers[-1].offset + 1 if answers else stop
            chosen = [answer for answer in answers if self._chosen.fits(answer)]
            yield end, chosen
            await self._advance(end - start, len(chosen))
            start = end

    async def _lane(self, partition: int) -> LaneRow | None:
        settings = self._servers.settings
        return (await self._database.lanes(settings.group_id, settings.topic_commands)).get(partition)


class _Repeat(NamedTuple):
    """Answers of one lane that are sent again, for the commands below `stop`."""

    lane: LaneName
    answers: Sequence[Answer]
    stop: int


class Replayer:
    """Publishes one partition's answers again. Its producer fences no lane, only earlier runs of the replay.

    The replay's own group keeps the progress, in the transactions of the results. Every method raises
    `CLUSTER_ERRORS` or `EmissionFailed`.
    """

    def __init__(self, settings: Settings, replay_id: str, partition: int, destination: Destination) -> None:
        self._group = f"{settings.group_id}.replay.{replay_id}"
        self._lane = LaneName(self._group, settings.topic_commands, partition)
        self._progress_at = TopicPartition(settings.topic_commands, partition)
        if destination.progress_at is not None:  # all partitions of the lost topic have that one
            self._group, self._progress_at = f"{self._group}.{partition}", destination.progress_at
        transactional_id = f"{settings.group_id}.{settings.topic_commands}.replay.{replay_id}.{partition}"
        self._emitter = Emitter(
            destination.settings(settings),
            transactional_id,
            Hooks(),
            offsets_group=self._group,
            offsets_at=destination.progress_at,
        )

    async def start(self, cluster: Cluster) -> int | None:
        """Fence an earlier run. Returns the next offset to repeat; None if Kafka has no offset."""
        await self._emitter.start()
        committed = (await cluster.committed(self._group, [self._progress_at]))[self._progress_at]
        if isinstance(committed, KafkaError):
            raise committed
        return None if committed is None else committed.offset

    async def send(self, answers: Sequence[Answer], stop: int) -> None:
        """Publish answers again, and commit `stop`: both become visible together or never."""
        await self._emitter.emit([_Repeat(self._lane, answers, stop)])

    async def close(self) -> None:
        """Safe to call at any time."""
        await self._emitter.close()


def _report(topic: str, id: UUID | None, offsets: Ranges, counts: Mapping[int, _Counts]) -> ReplayReport:
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
                next=count.next,
                records=count.records,
                bytes=count.bytes,
                outcomes=dict(count.outcomes),
            )
            for at, count in counts.items()
        ),
    )
