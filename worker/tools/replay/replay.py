"""`passport-worker replay`: publishes answers of the ledger once more, byte for byte, beside running workers."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
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
from worker.tools.replay.report import ReplayedLane, ReplayReport

VERB = "replay"
Ranges = Mapping[int, Offsets]


@dataclass(frozen=True)
class AnswerFilter:
    """Which answers of a range to repeat. None, and no outcomes, stand for all. The fields are kept as arguments."""

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
    """The answers to repeat, the most records a second (0: no limit), and the suffix of the topics.

    Without an author, the replay only says what it would do.
    """

    range: Range
    filter: AnswerFilter
    rate: float
    topic_suffix: str
    author: Author | None


class CannotReplay(Exception):
    """A replay has stopped; the text says where, why, and how to go on. Published results stay."""

    def __init__(self, text: str, id: UUID | None = None, channel: str = "") -> None:
        command = f"passport-worker replay --resume {id}{f' --channel {channel}' if channel else ''}"
        super().__init__(text if id is None else f"{text} Go on with `{command}`.")
        self.id = id  # None if the replay had not begun


@dataclass(slots=True)
class _Counts:
    """Counts of what was published of a partition, or would be, below `next`."""

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
        await _expect_topics(servers, request.topic_suffix)
        offsets = await _offsets(servers, database, request.range)
        advance = paced(progress, 0.0 if request.author is None else request.rate)
        replaying = _Replay(servers, database, request.filter, request.topic_suffix, advance)
        if request.author is None:
            progress.begin("counting", _size(offsets))
            return _report(topic, None, offsets, await replaying.count(offsets))
        arguments: dict[str, Any] = {
            "topic": topic,
            "offsets": [[at, start, stop] for at, (start, stop) in offsets.items()],
            "chosen": asdict(request.filter),
            "topic_suffix": request.topic_suffix,
        }
        if not request.topic_suffix:
            arguments["repeats"] = arguments["offsets"]  # `audit` expects repeats of these
        async with operation(database.connection, VERB, request.author, arguments) as kept:
            progress.begin(f"replay {kept.id}", _size(offsets))
            return _report(topic, kept.id, offsets, await replaying.run(offsets, kept))


async def resume(servers: Servers, id: UUID, author: Author, rate: float, progress: Progress) -> ReplayReport:
    """Go on with a replay where it stopped; a process that still runs it is fenced. Raises what `replay` raises."""
    topic = servers.settings.topic_commands
    async with inspection(servers.settings.database) as database, AsyncExitStack() as stack:
        try:
            kept = await stack.enter_async_context(resumed(database.connection, VERB, id, author))
        except UnknownOperation as error:
            raise BadSelection(str(error)) from error
        arguments = kept.arguments
        if arguments["topic"] != topic:
            text = f"that replay is of {arguments['topic']}, and this channel has {topic}: choose its with --channel"
            raise BadSelection(text)
        offsets = {at: (start, stop) for at, start, stop in arguments["offsets"]}
        chosen = AnswerFilter(**arguments["chosen"] | {"outcomes": tuple(arguments["chosen"]["outcomes"])})
        progress.begin(f"replay {id}", _size(offsets))
        replaying = _Replay(servers, database, chosen, arguments["topic_suffix"], paced(progress, rate))
        return _report(topic, id, offsets, await replaying.run(offsets, kept))


async def _offsets(servers: Servers, database: Inspection, chosen: Range) -> dict[int, Offsets]:
    """The part of a range that the ledger has, up to E. Raises `BadSelection` if the range begins before the ledger."""
    settings = servers.settings
    view = await group_view(settings, servers.cluster)
    rows = await database.lanes(settings.group_id, settings.topic_commands)
    begins = {at: position_in(rows.get(at)).ledger_from for at in view}
    ends = {at: emitted_of(rows.get(at), seen.committed and seen.committed.offset) for at, seen in view.items()}
    bounds = {at: (0, max(begins[at], ends[at])) for at in view}
    first_since = partial(LogReader(servers.cluster).first_since, settings.topic_commands)
    asked = await offsets_of(chosen, bounds, first_since)
    if chosen.start is not None and (early := [at for at, (start, _) in asked.items() if start < begins[at]]):
        begin = begins[early[0]]
        raise BadSelection(f"the ledger of partition {early[0]} begins at {begin}: expected --from at or behind it")
    return {at: (max(start, begins[at]), max(start, stop, begins[at])) for at, (start, stop) in asked.items()}


async def _expect_topics(servers: Servers, suffix: str) -> None:
    """Raises `BadSelection` unless the topics with that suffix have as many partitions as the result topics."""
    names, targets = servers.settings.answer_topics, _with_suffix(servers.settings, suffix).answer_topics
    counts = await servers.cluster.partition_counts(sorted({*names, *targets}))
    for name, target in zip(names, targets, strict=True):
        wanted, actual = counts.get(name), counts.get(target)
        if wanted != actual:
            text = f"expected a topic {target} of {wanted} partitions, as {name} has, found {actual or 'none'}"
            raise BadSelection(text)


def _with_suffix(settings: Settings, suffix: str) -> Settings:
    """The same settings, but results and dead letters go to topics whose names end with the suffix."""
    names = ("topic_created", "topic_overage_required", "topic_conflict", "topic_rejected")
    changed = {name: f"{getattr(settings, name)}{suffix}" for name in names}
    return settings.model_copy(update=changed | {"topic_dead_letters": f"{settings.dead_letter_topic}{suffix}"})


def _size(offsets: Ranges) -> int:
    return sum(stop - start for start, stop in offsets.values())


class _Replay:
    """Goes through partition after partition, window after window."""

    def __init__(
        self, servers: Servers, database: Inspection, chosen: AnswerFilter, suffix: str, advance: Advance
    ) -> None:
        self._servers, self._database, self._chosen = servers, database, chosen
        self._suffix, self._advance = suffix, advance

    async def count(self, offsets: Ranges) -> dict[int, _Counts]:
        """Count what would be published."""
        counts = {}
        for at, (start, stop) in offsets.items():
            counts[at] = _Counts(start)
            async for _, answers in self._windows(at, start, stop):
                counts[at].add(answers)
        return counts

    async def run(self, offsets: Ranges, kept: Operation) -> dict[int, _Counts]:
        """Publish the answers, from where the operation's own group stands."""
        counts = {}
        for at, (start, stop) in offsets.items():
            replayer = Replayer(self._servers.settings, str(kept.id), at, self._suffix)
            try:
                counts[at] = _Counts(await self._begin(replayer, at, start, kept))
                async for end, answers in self._windows(at, counts[at].next, stop):
                    await replayer.send(answers, end)
                    counts[at].add(answers)
                    counts[at].next = end
            except (EmissionFailed, *SERVER_ERRORS) as error:
                raise CannotReplay(f"Partition {at}: {error}.", kept.id, self._servers.settings.channel) from error
            finally:
                await replayer.close()
        return counts

    async def _begin(self, replayer: "Replayer", partition: int, start: int, kept: Operation) -> int:
        """The offset to go on at. Before the first result, the group gets its first offset, and Postgres a note."""
        offset = await replayer.start(self._servers.cluster)
        if offset is not None:
            return offset
        if str(partition) in kept.progress:
            raise CannotReplay(f"Kafka has forgotten how far partition {partition} was: begin a new one behind it.")
        await replayer.send([], start)
        kept.progress[str(partition)] = start
        await kept.note(self._database.connection)
        return start

    async def _windows(self, partition: int, start: int, stop: int) -> AsyncIterator[tuple[int, list[Answer]]]:
        """Yield the chosen answers of each window, and the offset behind it. Raises `CannotReplay`."""
        row = await self._lane(partition)
        while start < stop:
            answers = [] if row is None else await self._database.ledger(row.id, start, stop)
            # Days may be dropped while a replay runs: asked again after each read, or the gap would go unnoticed.
            if start < (begins := position_in(await self._lane(partition)).ledger_from):
                raise CannotReplay(f"The ledger of partition {partition} begins at {begins} by now: days were dropped.")
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
    """Publishes one partition's answers again, with a producer that fences no lane, but an earlier run of the replay.

    A group of the replay's own keeps how far it is, in the transactions of the results. Every method raises
    `CLUSTER_ERRORS` or `EmissionFailed`.
    """

    def __init__(self, settings: Settings, replay_id: str, partition: int, topic_suffix: str) -> None:
        self._group = f"{settings.group_id}.replay.{replay_id}"
        self._lane = LaneName(self._group, settings.topic_commands, partition)
        transactional_id = f"{settings.group_id}.{settings.topic_commands}.replay.{replay_id}.{partition}"
        self._emitter = Emitter(
            _with_suffix(settings, topic_suffix), transactional_id, Hooks(), offsets_group=self._group
        )

    async def start(self, cluster: Cluster) -> int | None:
        """Fence an earlier run. Returns the next offset to repeat, None if Kafka knows none."""
        await self._emitter.start()
        topic, partition = self._lane.topic, self._lane.partition
        committed = (await cluster.committed(self._group, [TopicPartition(topic, partition)]))[topic, partition]
        if isinstance(committed, KafkaError):
            raise committed
        return None if committed is None else committed.offset

    async def send(self, answers: Sequence[Answer], stop: int) -> None:
        """Publish answers again, and that everything below `stop` is done: visible together or never."""
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
