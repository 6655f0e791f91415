"""Handles a turn that fails: runs it again, narrows the failure down to a record, or leaves it to the caller."""

import time
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

import stamina
import structlog

from worker.batch.batch import Batch, RetriesExhausted, is_divisible
from worker.batch.pipeline import Pipeline
from worker.domain.command import Command, UnreadableRecord
from worker.messages.envelope import Record, dead_letter
from worker.observability.hooks import Hooks
from worker.store.port import BatchTooLarge, ConcurrentUpdate, LostLane, Retriable, StoreSlow, StoreUnavailable

log = structlog.get_logger(__name__)

PROCESSING_FAILED = "processing-failed"
_ATTEMPTS = 8
_ATTEMPTS_TOGETHER = 2


class Remedy(Enum):
    """The treatment of a failed transaction, after the retries that `Retriable` gets anyway."""

    # The database is away: the caller waits for it.
    WAIT = "wait"
    # Another session holds a lane: the others go on without it.
    LEAVE = "leave"
    # The turn was too large: the caller makes smaller ones.
    SHRINK = "shrink"
    # One lane may be the cause: each lane is tried alone.
    ISOLATE = "isolate"
    # One record may be the cause: each lane is tried alone, and halving finds the record.
    SEARCH = "search"


def remedy(error: Exception, turn: Sequence[Batch]) -> Remedy:
    """Classify a failure. All code that treats failures of turns asks here."""
    # The order matters: `StoreSlow` and `RetriesExhausted` are kinds of `StoreUnavailable`.
    match error:
        case LostLane() if any(batch.expected.token in error.tokens for batch in turn):
            return Remedy.LEAVE
        case BatchTooLarge():
            return Remedy.SHRINK
        case StoreSlow():
            return Remedy.SHRINK if is_divisible(turn) else Remedy.ISOLATE
        case RetriesExhausted():
            return Remedy.ISOLATE
        case LostLane() | StoreUnavailable():
            return Remedy.WAIT
        case _:  # bad data, a `ConcurrentUpdate` that repeats, or a defect of the code that only some records meet
            return Remedy.SEARCH


class Processor:
    """Runs turns to their end: it retries, tries lane by lane, and narrows a failure down to its record."""

    def __init__(self, pipeline: Pipeline, hooks: Hooks | None = None) -> None:
        self._pipeline = pipeline
        self._hooks = hooks or Hooks()
        # When an attempt last failed, by `time.monotonic()`: `/livez` must not kill a worker that waits for locks.
        self.failed_at = 0.0

    async def process(self, turn: Sequence[Batch]) -> None:
        """Commit the effects of a turn. Each batch gets its answers, or the error that kept it from them.

        A lane that is lost leaves the turn, and the others go on. A turn that fails is tried lane by lane. If a lane
        fails alone, halving finds the record that it fails on. That record is answered "Unreadable command" with a dead
        letter, and its neighbours are processed as if it were not there. If a turn is too large, or does not end in
        time, every batch gets `BatchTooLarge`.

        If one batch fails and its neighbours do not, that batch gets `StoreUnavailable`. If the database is away,
        `StoreUnavailable` is raised, and the positions in Postgres tell afterwards which batches were applied.
        """
        if not turn:
            return
        try:
            await self._with_retries(turn)
        except Exception as error:
            match remedy(error, turn):
                case Remedy.LEAVE if isinstance(error, LostLane):
                    for batch in turn:
                        batch.error = error if batch.expected.token in error.tokens else None
                    await self.process([batch for batch in turn if batch.error is None])
                case Remedy.SHRINK:
                    if isinstance(error, StoreSlow):
                        self._note_failure(turn, error)
                    for batch in turn:
                        batch.error = BatchTooLarge()
                case Remedy.ISOLATE | Remedy.SEARCH:
                    self._note_failure(turn, error)
                    await (self._each_alone(turn) if len(turn) > 1 else self._narrow_down(turn[0], error))
                case _:
                    raise

    async def _each_alone(self, turn: Sequence[Batch]) -> None:
        for batch in turn:
            with self._hooks.within([batch.activity]):
                await self.process([batch])

    async def _with_retries(self, turn: Sequence[Batch]) -> None:
        """Run a turn, and run it again a few times after a deadlock or a serialization failure.

        Raises `RetriesExhausted` if these continue. Raises `ConcurrentUpdate` as it is: a record may be the cause.
        """
        attempts = _ATTEMPTS if len(turn) == 1 else _ATTEMPTS_TOGETHER
        try:
            async for attempt in stamina.retry_context(
                on=Retriable, attempts=attempts, timeout=60.0, wait_initial=0.02, wait_max=1.0, wait_jitter=0.1
            ):
                with attempt:
                    try:
                        await self._pipeline.transaction(turn)
                    except Exception:
                        self.failed_at = time.monotonic()
                        raise
        except ConcurrentUpdate:
            raise
        except Retriable as error:
            raise RetriesExhausted(f"rolled back again and again: {error}") from error

    async def _narrow_down(self, batch: Batch, error: Exception) -> None:
        """Search for the record that a batch fails on. If the search fails, too, the whole batch has failed."""
        if remedy(error, [batch]) is Remedy.SEARCH:
            try:
                await self._search(batch)
                return
            except Exception as failure:
                if remedy(failure, [batch]) is Remedy.WAIT:
                    raise
                error = failure
        if not isinstance(error, LostLane | StoreUnavailable | BatchTooLarge):
            error = RetriesExhausted(type(error).__name__)  # not its message, which may quote a record
        batch.error = error

    async def _search(self, batch: Batch) -> None:
        """Answer a batch that has failed: halve it down to a record that fails alone, and refuse that record."""
        if not is_divisible([batch]):
            try:
                await self._with_retries([batch])
            except Exception as failure:
                # A batch of markers alone has no record to refuse (guard B12).
                if not batch.commands or remedy(failure, [batch]) is not Remedy.SEARCH:
                    raise
                await self._refuse_record(batch, failure)
            return
        halves = batch.halves()
        for half in halves:
            try:
                await self._with_retries([half])
            except Exception as failure:
                if remedy(failure, [half]) not in (Remedy.SHRINK, Remedy.SEARCH):
                    raise
                self._note_failure([half], failure)
                await self._search(half)
        batch.answers = [answer for half in halves for answer in half.answers]

    async def _refuse_record(self, batch: Batch, error: Exception) -> None:
        log.error(
            "record_refused",
            topic=batch.lane.topic,
            partition=batch.lane.partition,
            offset=batch.start,
            reason=PROCESSING_FAILED,
            error=_in_short(error),
        )
        self._hooks.troubled(batch.lane, "record_refused", type(error), batch.start)
        refused = replace(batch, commands=[unprocessable(batch.commands[0], batch.records[0])])
        await self._with_retries([refused])
        batch.answers = refused.answers

    def _note_failure(self, turn: Sequence[Batch], error: Exception) -> None:
        for batch in turn:
            log.warning(
                "batch_failed",
                topic=batch.lane.topic,
                partition=batch.lane.partition,
                start=batch.start,
                stop=batch.stop,
                error=_in_short(error),
            )
            self._hooks.troubled(batch.lane, "batch_failed", type(error), batch.start)


def unprocessable(command: Command, record: Record) -> Command:
    """The command that rule 1 refuses, for a record whose processing fails because of the record."""
    refusal = UnreadableRecord(PROCESSING_FAILED, "Expected a record that can be processed; it failed repeatedly")
    return command._replace(body=refusal, dead_letter=dead_letter(record, PROCESSING_FAILED))


def _in_short(error: Exception) -> str:
    """The type of a failure and its SQLSTATE: the message of a driver may quote a record's data."""
    name = type(error).__name__
    return f"{name}: {str(error)[:5]}" if isinstance(error, Retriable) else name
