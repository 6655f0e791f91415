"""A turn through the line: command → facts → outcome → answer, for all lanes in one Postgres transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import stamina
import structlog
from opentelemetry.trace import INVALID_SPAN, Span

from worker import trace_names
from worker.domain.command import Command, CreatePassport, UnreadableRecord
from worker.domain.decide import decide
from worker.domain.facts import Facts
from worker.domain.outcomes import Created, Outcome
from worker.messages.envelope import Record, dead_letter
from worker.messages.events import RECORD_BYTES, Answer, describe
from worker.observer import Committed, Nobody, Observer
from worker.store.port import BatchTooLarge, LostLane, Overtaken, Stake, Store, StoreAway, StoreSlow, TryAgain
from worker.tracing import NO_TRACING, Tracing

log = structlog.get_logger(__name__)

PROCESSING_FAILED = "processing-failed"
ANSWER_FRAME_BYTES = 512
"""About what an answer holds besides what was asked and the product's fields."""
_ATTEMPTS = 8
_ATTEMPTS_TOGETHER = 2

BATCH_BYTES = 8 * 1024 * 1024
"""How much the answers of one transaction may hold together, since they are all in memory at once."""


class AnswerTooLarge(Exception):
    """A result that cannot be published, headers and all, such as for what the catalogue seeds a created event with."""


@dataclass(frozen=True, slots=True)
class Work:
    """Consecutive records of one lane as commands, for the offsets from where the lane stands to below `stop`.

    `span` is that of the batch.
    """

    stake: Stake
    records: Sequence[Record]
    commands: Sequence[Command]
    stop: int
    span: Span = INVALID_SPAN

    @property
    def start(self) -> int:
        """Offset at which the lane stands."""
        return self.stake.applied


class InVain(StoreAway):
    """A turn was rolled back again and again, and not by the doing of a record: somebody's locks, perhaps."""


Done = list[Answer] | LostLane | BatchTooLarge | StoreAway
"""What became of a lane's work: its answers, one a record, or why it has none."""


class Processor:
    """Decides turns over a store: the work of all lanes in one transaction.

    `digital_link_base` is the URL that GS1 Digital Links start with.
    """

    def __init__(
        self,
        store: Store,
        digital_link_base: str,
        observer: Observer | None = None,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._store = store
        self._observer = observer or Nobody()
        self._digital_link_base = digital_link_base
        self._tracing = tracing

    async def process(self, turn: Sequence[Work]) -> list[Done]:
        """Commit the effects of a turn; what became of each lane's work, in order.

        A lane that is lost leaves, and the others go on. What fails is tried lane by lane. A record that its lane then
        fails on is found by halving and answered "Unreadable command" with a dead letter; its neighbours are processed
        as if it was not there. What is too much at once, or did not end in time, is too large for every lane.
        `StoreAway` is the end of a lane's work alone where it fails and its neighbours do not; it is raised where the
        database is away. After it the positions tell what was done.
        """
        if not turn:
            return []
        try:
            return [*await self._with_retries(turn)]
        except LostLane as lost:
            left = [work for work in turn if work.stake.hold not in lost.holds]
            if len(left) == len(turn):
                raise
            others = iter(await self.process(left))
            return [lost if work.stake.hold in lost.holds else next(others) for work in turn]
        except BatchTooLarge as large:
            return [large] * len(turn)
        except StoreSlow as slow:
            self._note_failure(turn, slow)
            return [BatchTooLarge()] * len(turn) if _is_divisible(turn) else [slow]
        except Exception as error:
            if isinstance(error, StoreAway) and not isinstance(error, InVain):
                raise
            self._note_failure(turn, error)
            if len(turn) == 1:
                return [await self._narrow_down(turn[0], error)]
            done: list[Done] = []
            for work in turn:
                with self._tracing.within([work.span]):
                    done += await self.process([work])
            return done

    async def transaction(self, turn: Sequence[Work]) -> list[list[Answer]]:
        """Commit the effects of work of different lanes, in this order; the answers of each.

        Raises what `worker.store.port` says, and what a record's data brings out.
        """
        commands = [command for work in turn for command in work.commands]
        lap = self._observer.stopwatch()
        facts = await self._store.look_up(commands, BATCH_BYTES)
        lap("look-up")
        if len(commands) > 1 and _size_ahead(turn, facts) > BATCH_BYTES:
            raise BatchTooLarge
        with self._tracing.transaction(trace_names.IN_POSTGRES, len(commands)):
            return await self._commit(turn, commands, facts)

    async def _commit(self, turn: Sequence[Work], commands: Sequence[Command], facts: Facts) -> list[list[Answer]]:
        lap = self._observer.stopwatch()
        async with self._store.batch([work.stake for work in turn]) as batch:
            lap("begin")
            await batch.gather(commands, facts)
            lap("gather")
            created, others, answers = decide_all(commands, facts, self._digital_link_base)
            each = iter(answers)
            by_lane = [list(islice(each, len(work.commands))) for work in turn]
            lap("decide")
            await batch.record(created, by_lane, [work.stop for work in turn])
            lap("write")
        self._observer.committed(Committed(len(turn), created, others, facts.companies, lap("commit")))
        return by_lane

    async def _with_retries(self, turn: Sequence[Work]) -> list[list[Answer]]:
        """A deadlock or a serialization failure is nobody's fault: run the turn again, a few times.

        Raises `InVain` where it goes on like this; only what was overtaken each time may be a record's doing.
        """
        attempts = _ATTEMPTS if len(turn) == 1 else _ATTEMPTS_TOGETHER
        try:
            async for attempt in stamina.retry_context(
                on=TryAgain, attempts=attempts, timeout=60.0, wait_initial=0.02, wait_max=1.0, wait_jitter=0.1
            ):
                with attempt:
                    return await self.transaction(turn)
        except Overtaken:
            raise
        except TryAgain as error:
            raise InVain(f"tried in vain: {error}") from error
        raise AssertionError("stamina returns or raises")

    async def _narrow_down(self, work: Work, error: Exception) -> Done:
        """What the record-by-record search cannot answer is the lane's failure, unless the database is away."""
        try:
            return await self._half_by_half(work, error)
        except (LostLane, InVain, StoreSlow) as failure:
            return failure
        except StoreAway:
            raise
        except Exception as failure:
            return InVain(f"{type(failure).__name__}")

    async def _half_by_half(self, work: Work, error: Exception) -> list[Answer]:
        """Answers to work that has failed with `error`, down to the record that fails by itself."""
        if isinstance(error, InVain):
            raise error
        if len(work.commands) <= 1:
            return await self._try_once_more(work)
        answers: list[Answer] = []
        for half in _halves(work):
            try:
                answers += (await self._with_retries([half]))[0]
            except LostLane:
                raise
            except Exception as failure:
                if isinstance(failure, StoreAway) and not (isinstance(failure, StoreSlow) and _is_divisible([half])):
                    raise
                self._note_failure([half], failure)
                answers += await self._half_by_half(half, failure)
        return answers

    async def _try_once_more(self, work: Work) -> list[Answer]:
        """Only a record that fails by itself and again is refused."""
        try:
            return (await self._with_retries([work]))[0]
        except (LostLane, StoreAway):
            raise
        except Exception as error:
            if not work.commands:
                raise
            return await self._refuse_record(work, error)

    def _note_failure(self, turn: Sequence[Work], error: Exception) -> None:
        for work in turn:
            lane = work.stake.hold.name
            log.warning(
                "batch_failed", partition=lane.partition, start=work.start, stop=work.stop, error=_in_short(error)
            )
            self._tracing.trouble(work.span, "batch_failed", type(error).__name__, work.start)

    async def _refuse_record(self, work: Work, error: Exception) -> list[Answer]:
        log.error("record_refused", offset=work.start, reason=PROCESSING_FAILED, error=_in_short(error))
        self._tracing.trouble(work.span, "record_refused", type(error).__name__, work.start)
        command = unprocessable(work.commands[0], work.records[0])
        return (await self._with_retries([replace(work, commands=[command])]))[0]


def decide_all(
    commands: Sequence[Command], facts: Facts, digital_link_base: str
) -> tuple[list[Created], list[Outcome], list[Answer]]:
    """Decide commands in order, each sees what those before it created: created, other outcomes, answers to all."""
    created: list[Created] = []
    others: list[Outcome] = []
    answers: list[Answer] = []
    size = 0
    for command in commands:
        outcome = decide(command, facts)
        answer = describe(command, outcome, digital_link_base)
        if answer.record_bytes > RECORD_BYTES:
            raise AnswerTooLarge(f"an answer of {answer.record_bytes} bytes fits into no result topic")
        if isinstance(outcome, Created):
            facts.absorb(outcome, answer.value)
            created.append(outcome)
        else:
            others.append(outcome)
        answers.append(answer)
        size += len(answer.value)
        if size > BATCH_BYTES and len(commands) > 1:
            raise BatchTooLarge
    return created, others, answers


def unprocessable(command: Command, record: Record) -> Command:
    """The command of a record whose processing failed by its own fault, as rule 1 refuses it."""
    refusal = UnreadableRecord(PROCESSING_FAILED, "Expected a record that can be processed; it failed repeatedly")
    return replace(command, body=refusal, dead_letter=dead_letter(record, PROCESSING_FAILED))


def _halves(work: Work) -> tuple[Work, Work]:
    middle = len(work.commands) // 2
    boundary = work.commands[middle].source.offset
    return (
        replace(work, records=work.records[:middle], commands=work.commands[:middle], stop=boundary),
        replace(
            work,
            stake=replace(work.stake, applied=boundary),
            records=work.records[middle:],
            commands=work.commands[middle:],
        ),
    )


def _size_ahead(turn: Sequence[Work], facts: Facts) -> int:
    """About how many bytes the answers will have, before any of them is made."""
    size = sum(ANSWER_FRAME_BYTES + len(record.value or b"") for work in turn for record in work.records)
    for work in turn:
        for command in work.commands:
            if isinstance(command.body, CreatePassport) and command.body.product_id in facts.products:
                size += len(facts.products[command.body.product_id].seeded.json)
    return size


def _is_divisible(turn: Sequence[Work]) -> bool:
    """Whether less at once may go through.

    A record that is alone is too much for a database that is as good as away: that is waited for.
    """
    return sum(len(work.commands) for work in turn) > 1


def _in_short(error: Exception) -> str:
    """The kind of failure only: a driver's message may quote a record's data."""
    name = type(error).__name__
    return f"{name}: {str(error)[:5]}" if isinstance(error, TryAgain) else name
