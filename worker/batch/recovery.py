"""What becomes of a turn that fails: which failures to run again, which to split, and which are for others to mend."""

from collections.abc import Sequence
from dataclasses import replace

import stamina
import structlog

from worker.batch.pipeline import Pipeline
from worker.batch.work import Done, InVain, Work, halves, is_divisible
from worker.domain.command import Command, UnreadableRecord
from worker.messages.envelope import Record, dead_letter
from worker.messages.events import Answer
from worker.observability.spans import NO_TRACING, Tracing
from worker.store.port import BatchTooLarge, ConcurrentUpdate, LostLane, Retriable, StoreSlow, StoreUnavailable

log = structlog.get_logger(__name__)

PROCESSING_FAILED = "processing-failed"
_ATTEMPTS = 8
_ATTEMPTS_TOGETHER = 2


class Processor:
    """Turns that come through: what fails is run again, tried lane by lane, and narrowed down to its record."""

    def __init__(self, pipeline: Pipeline, tracing: Tracing = NO_TRACING) -> None:
        self._pipeline = pipeline
        self._tracing = tracing

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
        except LostLane as lost:
            left = [work for work in turn if work.expected.token not in lost.tokens]
            if len(left) == len(turn):
                raise
            others = iter(await self.process(left))
            return [lost if work.expected.token in lost.tokens else next(others) for work in turn]
        except BatchTooLarge as large:
            return [large] * len(turn)
        except StoreSlow as slow:
            self._note_failure(turn, slow)
            return [BatchTooLarge()] * len(turn) if is_divisible(turn) else [slow]
        except Exception as error:
            if isinstance(error, StoreUnavailable) and not isinstance(error, InVain):
                raise
            self._note_failure(turn, error)
            if len(turn) == 1:
                return [await self._narrow_down(turn[0], error)]
            done: list[Done] = []
            for work in turn:
                with self._tracing.within([work.span]):
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

    async def _narrow_down(self, work: Work, error: Exception) -> Done:
        """What the record-by-record search cannot answer is the lane's failure, unless the database is away."""
        try:
            return await self._half_by_half(work, error)
        except (LostLane, InVain, StoreSlow) as failure:
            return failure
        except StoreUnavailable:
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
        for half in halves(work):
            try:
                answers += (await self._with_retries([half]))[0]
            except LostLane:
                raise
            except Exception as failure:
                if isinstance(failure, StoreUnavailable) and not (
                    isinstance(failure, StoreSlow) and is_divisible([half])
                ):
                    raise
                self._note_failure([half], failure)
                answers += await self._half_by_half(half, failure)
        return answers

    async def _try_once_more(self, work: Work) -> list[Answer]:
        """Only a record that fails by itself and again is refused."""
        try:
            return (await self._with_retries([work]))[0]
        except (LostLane, StoreUnavailable):
            raise
        except Exception as error:
            if not work.commands:
                raise
            return await self._refuse_record(work, error)

    def _note_failure(self, turn: Sequence[Work], error: Exception) -> None:
        for work in turn:
            lane = work.expected.token.name
            log.warning(
                "batch_failed", partition=lane.partition, start=work.start, stop=work.stop, error=_in_short(error)
            )
            self._tracing.trouble(work.span, "batch_failed", type(error).__name__, work.start)

    async def _refuse_record(self, work: Work, error: Exception) -> list[Answer]:
        log.error("record_refused", offset=work.start, reason=PROCESSING_FAILED, error=_in_short(error))
        self._tracing.trouble(work.span, "record_refused", type(error).__name__, work.start)
        command = unprocessable(work.commands[0], work.records[0])
        return (await self._with_retries([replace(work, commands=[command])]))[0]


def unprocessable(command: Command, record: Record) -> Command:
    """The command of a record whose processing failed by its own fault, as rule 1 refuses it."""
    refusal = UnreadableRecord(PROCESSING_FAILED, "Expected a record that can be processed; it failed repeatedly")
    return replace(command, body=refusal, dead_letter=dead_letter(record, PROCESSING_FAILED))


def _in_short(error: Exception) -> str:
    """The kind of failure only: a driver's message may quote a record's data."""
    name = type(error).__name__
    return f"{name}: {str(error)[:5]}" if isinstance(error, Retriable) else name
