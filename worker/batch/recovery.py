"""What becomes of a turn that fails: which failures to run again, which to split, and which are for others to mend."""

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

import stamina
import structlog

from worker.batch.pipeline import Pipeline
from worker.batch.work import Done, InVain, Work, halves, is_divisible
from worker.domain.command import Command, UnreadableRecord
from worker.messages.envelope import Record, dead_letter
from worker.messages.events import Answer
from worker.observability.hooks import Activity, Hooks
from worker.store.port import BatchTooLarge, ConcurrentUpdate, LostLane, Retriable, StoreSlow, StoreUnavailable

log = structlog.get_logger(__name__)

PROCESSING_FAILED = "processing-failed"
_ATTEMPTS = 8
_ATTEMPTS_TOGETHER = 2


class Remedy(Enum):
    """What helps against a failure of a transaction, after those tries that `Retriable` gets anyway."""

    WAIT = "wait"
    """The database is away: whoever has the turn waits for it."""
    LEAVE = "leave"
    """A lane is somebody else's: the others go on without it."""
    SHRINK = "shrink"
    """It was too much at once."""
    ISOLATE = "isolate"
    """It is a lane's own: the others go on without it."""
    SEARCH = "search"
    """It may be a record's own: it is found by halving."""


def remedy(error: Exception, turn: Sequence[Work]) -> Remedy:
    """The one classification of failures."""
    match error:
        case LostLane() if any(work.expected.token in error.tokens for work in turn):
            return Remedy.LEAVE
        case BatchTooLarge():
            return Remedy.SHRINK
        case StoreSlow():
            return Remedy.SHRINK if is_divisible(turn) else Remedy.ISOLATE
        case InVain():
            return Remedy.ISOLATE
        case LostLane() | StoreUnavailable():
            return Remedy.WAIT
        case _:
            return Remedy.SEARCH


class Processor:
    """Turns that come through: what fails is run again, tried lane by lane, and narrowed down to its record."""

    def __init__(self, pipeline: Pipeline, hooks: Hooks | None = None) -> None:
        self._pipeline = pipeline
        self._hooks = hooks or Hooks()

    async def process(self, turn: Sequence[Work]) -> list[Done]:
        """Commit the effects of a turn; what became of each lane's work, in order.

        A lane that is lost leaves, and the others go on. What fails is tried lane by lane. A record that its lane then
        fails on is found by halving and answered "Unreadable command" with a dead letter; its neighbours are processed
        as if it was not there. What is too much at once, or did not end in time, is too large for every lane.
        `StoreUnavailable` is the end of a lane's work alone where it fails and its neighbours do not. It is raised
        where the database is away. After it the positions tell what was done.
        """
        if not turn:
            return []
        try:
            return [*await self._with_retries(turn)]
        except Exception as error:
            match remedy(error, turn):
                case Remedy.LEAVE if isinstance(error, LostLane):
                    return await self._without(error, turn)
                case Remedy.SHRINK:
                    if isinstance(error, StoreSlow):
                        self._note_failure(turn, error)
                    return [BatchTooLarge()] * len(turn)
                case Remedy.ISOLATE | Remedy.SEARCH as found:
                    self._note_failure(turn, error)
                    if len(turn) > 1:
                        return await self._each_alone(turn)
                    return [await self._narrow_down(turn[0]) if found is Remedy.SEARCH else _of_lane(error)]
                case _:
                    raise

    async def _without(self, lost: LostLane, turn: Sequence[Work]) -> list[Done]:
        others = iter(await self.process([work for work in turn if work.expected.token not in lost.tokens]))
        return [lost if work.expected.token in lost.tokens else next(others) for work in turn]

    async def _each_alone(self, turn: Sequence[Work]) -> list[Done]:
        done: list[Done] = []
        for work in turn:
            with self._hooks.within([Activity(work.expected.token.name, work.start)]):
                done += await self.process([work])
        return done

    async def _with_retries(self, turn: Sequence[Work]) -> list[list[Answer]]:
        """A deadlock or a serialization failure is nobody's fault: run the turn again, a few times.

        Raises `InVain` where it goes on like this; only what was overtaken each time may be a record's doing.
        """
        attempts = _ATTEMPTS if len(turn) == 1 else _ATTEMPTS_TOGETHER
        try:
            async for attempt in stamina.retry_context(
                on=Retriable, attempts=attempts, timeout=60.0, wait_initial=0.02, wait_max=1.0, wait_jitter=0.1
            ):
                with attempt:
                    return await self._pipeline.transaction(turn)
        except ConcurrentUpdate:
            raise
        except Retriable as error:
            raise InVain(f"tried in vain: {error}") from error
        raise AssertionError("stamina returns or raises")

    async def _narrow_down(self, work: Work) -> Done:
        """What the record-by-record search cannot answer is the lane's failure, unless the database is away."""
        try:
            return await self._search(work)
        except Exception as failure:
            if remedy(failure, [work]) is Remedy.WAIT:
                raise
            return _of_lane(failure)

    async def _search(self, work: Work) -> list[Answer]:
        """Answers to work that has failed, down to the record that fails by itself, and again: that one is refused."""
        if not is_divisible([work]):
            try:
                return await self._alone(work)
            except Exception as failure:
                if not work.commands or remedy(failure, [work]) is not Remedy.SEARCH:
                    raise
                return await self._refuse_record(work, failure)
        answers: list[Answer] = []
        for half in halves(work):
            try:
                answers += await self._alone(half)
            except Exception as failure:
                if remedy(failure, [half]) not in (Remedy.SHRINK, Remedy.SEARCH):
                    raise
                self._note_failure([half], failure)
                answers += await self._search(half)
        return answers

    async def _alone(self, work: Work) -> list[Answer]:
        (answers,) = await self._with_retries([work])
        return answers

    def _note_failure(self, turn: Sequence[Work], error: Exception) -> None:
        for work in turn:
            lane = work.expected.token.name
            log.warning(
                "batch_failed", partition=lane.partition, start=work.start, stop=work.stop, error=_in_short(error)
            )
            self._hooks.troubled(lane, "batch_failed", type(error), work.start)

    async def _refuse_record(self, work: Work, error: Exception) -> list[Answer]:
        log.error("record_refused", offset=work.start, reason=PROCESSING_FAILED, error=_in_short(error))
        self._hooks.troubled(work.expected.token.name, "record_refused", type(error), work.start)
        command = unprocessable(work.commands[0], work.records[0])
        return await self._alone(replace(work, commands=[command]))


def unprocessable(command: Command, record: Record) -> Command:
    """The command of a record whose processing failed by its own fault, as rule 1 refuses it."""
    refusal = UnreadableRecord(PROCESSING_FAILED, "Expected a record that can be processed; it failed repeatedly")
    return command._replace(body=refusal, dead_letter=dead_letter(record, PROCESSING_FAILED))


def _of_lane(failure: Exception) -> Done:
    """A failure as the end of one lane's work."""
    if isinstance(failure, LostLane | StoreUnavailable | BatchTooLarge):
        return failure
    return InVain(type(failure).__name__)


def _in_short(error: Exception) -> str:
    """The kind of failure only: a driver's message may quote a record's data."""
    name = type(error).__name__
    return f"{name}: {str(error)[:5]}" if isinstance(error, Retriable) else name
