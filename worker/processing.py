"""Batches through the line: command → facts → outcome → answer, those of all lanes that wait in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import stamina
import structlog

from worker.domain.command import Command, CreatePassport, UnreadableRecord
from worker.domain.decide import decide
from worker.domain.facts import Facts
from worker.domain.outcomes import Created, Outcome
from worker.group_commit import FailedInCompany, GroupCommit
from worker.messages.envelope import Record, dead_letter
from worker.messages.events import RECORD_BYTES, Answer, describe
from worker.observer import Committed, Nobody, Observer
from worker.store.port import BatchTooLarge, LostLane, Overtaken, Stake, Store, StoreAway, StoreSlow, TryAgain
from worker.tracing import NO_TRACING, Tracing, Waiting

log = structlog.get_logger(__name__)

PROCESSING_FAILED = "processing-failed"
ANSWER_FRAME_BYTES = 512
"""About what an answer holds besides what was asked and the product's fields."""
_ATTEMPTS = 8

BATCH_BYTES = 8 * 1024 * 1024
"""How much the answers of one transaction may hold together, since they are all in memory at once."""


class AnswerTooLarge(Exception):
    """A result that cannot be published, headers and all, such as for what the catalogue seeds a created event with."""


@dataclass(frozen=True, slots=True)
class Work:
    """Consecutive records of one lane as commands, for the offsets from where the lane stands to below `stop`.

    `most_bytes` is how large their answers may be together, and what is looked up for them.
    """

    stake: Stake
    records: Sequence[Record]
    commands: Sequence[Command]
    stop: int
    most_bytes: int = BATCH_BYTES

    @property
    def start(self) -> int:
        """Offset at which the lane stands."""
        return self.stake.applied


Ready = tuple[Work, Facts, Waiting | None]
"""A batch, the reference data that it names, and for traces, where it waits for its transaction."""


class Processor:
    """Decides batches over a store, one transaction at a time, of `batch_records` where several wait.

    `digital_link_base` is the URL that GS1 Digital Links start with.
    """

    def __init__(
        self,
        store: Store,
        digital_link_base: str,
        batch_records: int,
        observer: Observer | None = None,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._store = store
        self._observer = observer or Nobody()
        self._digital_link_base = digital_link_base
        self._batch_records = batch_records
        self._tracing = tracing
        self._group_commit = GroupCommit(self.transaction, self._share, most=1.0)

    async def process(self, work: Work) -> list[Answer]:
        """Commit the effects of a batch, together with those of other lanes; its answers, one a record, in order.

        What fails in company is tried alone. A record that the batch then fails on is found by halving and answered
        "Unreadable command" with a dead letter; its neighbours are processed as if it was not there. Raises `LostLane`
        and `StoreAway`, upon which the lane reopens, and `BatchTooLarge`, also for what did not end in time.
        """
        try:
            return await self._group_commit.run(await self.make_ready(work))
        except StoreSlow as slow:
            self._ask_for_less(work, slow)
            raise
        except (LostLane, StoreAway, BatchTooLarge):
            raise
        except Exception as error:
            self._ask_for_less(work, error.__cause__)
            self._note_failure(work, error)
            return await self._alone(work)

    async def make_ready(self, work: Work) -> Ready:
        """Look up the reference data of a batch, as it is now."""
        lap = self._observer.stopwatch()
        facts = await self._store.look_up(work.commands, work.most_bytes)
        lap("look-up")
        return work, facts, self._tracing.waiting()

    async def transaction(self, works: Sequence[Ready]) -> list[list[Answer]]:
        """Commit the effects of batches of different lanes, in this order; the answers of each."""
        facts = Facts()
        for _, known, _ in works:
            facts.learn(known)
        commands = [command for work, _, _ in works for command in work.commands]
        with self._tracing.transaction([waiting for _, _, waiting in works], len(commands)):
            return await self._commit([work for work, _, _ in works], commands, facts)

    async def _commit(self, works: Sequence[Work], commands: Sequence[Command], facts: Facts) -> list[list[Answer]]:
        lap = self._observer.stopwatch()
        async with self._store.batch([work.stake for work in works]) as batch:
            lap("begin")
            await batch.gather(commands, facts)
            lap("gather")
            created, others, answers = decide_all(commands, facts, self._digital_link_base)
            each = iter(answers)
            by_lane = [list(islice(each, len(work.commands))) for work in works]
            if any(_is_too_large(work, own) for work, own in zip(works, by_lane, strict=True)):
                raise BatchTooLarge
            lap("decide")
            await batch.record(created, by_lane, [work.stop for work in works])
            lap("write")
        self._observer.committed(Committed(len(works), created, others, facts.companies, lap("commit")))
        return by_lane

    def _share(self, ready: Ready) -> float:
        """How much of a transaction a batch takes: of its records, or of the bytes that its answers will have.

        Raises `BatchTooLarge`.
        """
        work, known, _ = ready
        size = sum(ANSWER_FRAME_BYTES + len(record.value or b"") for record in work.records)
        for command in work.commands:
            if isinstance(command.body, CreatePassport) and command.body.product_id in known.products:
                size += len(known.products[command.body.product_id].seeded.json)
        if size > work.most_bytes and len(work.commands) > 1:
            raise BatchTooLarge
        return max(len(work.commands) / self._batch_records, size / BATCH_BYTES)

    async def _alone(self, work: Work) -> list[Answer]:
        try:
            return await self._with_retries(work)
        except StoreSlow as slow:
            self._ask_for_less(work, slow)
            raise
        except (LostLane, StoreAway, BatchTooLarge):
            raise
        except Exception as error:
            self._note_failure(work, error)
            if len(work.commands) <= 1:
                return await self._try_once_more(work)
            first, second = _halves(work)
            return [*await self._alone(first), *await self._alone(second)]

    async def _with_retries(self, work: Work) -> list[Answer]:
        """A deadlock or a serialization failure is nobody's fault: run the batch again, a few times.

        A database that goes on like this is as good as away; only what was overtaken each time may be a record's doing.
        """
        try:
            async for attempt in stamina.retry_context(
                on=TryAgain, attempts=_ATTEMPTS, timeout=60.0, wait_initial=0.02, wait_max=1.0, wait_jitter=0.1
            ):
                with attempt:
                    (answers,) = await self.transaction([await self.make_ready(work)])
                    return answers
        except Overtaken:
            raise
        except TryAgain as error:
            raise StoreAway(f"tried in vain: {error}") from error
        raise AssertionError("stamina returns or raises")

    async def _try_once_more(self, work: Work) -> list[Answer]:
        """Only a record that fails by itself and again is refused."""
        try:
            return await self._with_retries(work)
        except (LostLane, StoreAway):
            raise
        except Exception as error:
            if not work.commands:
                raise
            return await self._refuse_record(work, error)

    def _ask_for_less(self, work: Work, error: BaseException | None) -> None:
        """Raise `BatchTooLarge` for what did not end in time.

        A record that is alone is too much for a database that is as good as away: that is waited for.
        """
        if isinstance(error, StoreSlow) and len(work.commands) > 1:
            self._note_failure(work, error)
            raise BatchTooLarge from error

    def _note_failure(self, work: Work, error: Exception) -> None:
        log.warning("batch_failed", start=work.start, stop=work.stop, error=_in_short(error))
        self._tracing.trouble("batch_failed", type(error).__name__, work.start)

    async def _refuse_record(self, work: Work, error: Exception) -> list[Answer]:
        log.error("record_refused", offset=work.start, reason=PROCESSING_FAILED, error=_in_short(error))
        self._tracing.trouble("record_refused", type(error).__name__, work.start)
        command = unprocessable(work.commands[0], work.records[0])
        return await self._with_retries(replace(work, commands=[command]))


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


def _is_too_large(work: Work, answers: Sequence[Answer]) -> bool:
    return len(answers) > 1 and sum(len(answer.value) for answer in answers) > work.most_bytes


def _in_short(error: Exception) -> str:
    """The kind of failure only: a driver's message may quote a record's data."""
    name = type(error).__name__
    if isinstance(error, FailedInCompany):
        return f"{name}: {error}"
    return f"{name}: {str(error)[:5]}" if isinstance(error, TryAgain) else name
