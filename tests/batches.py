"""Batches as a session has them when they are applied, for tests that need no session."""

from collections.abc import Sequence

from worker.batch.batch import Batch
from worker.domain.command import Command
from worker.messages.events import Answer
from worker.store.port import ExpectedPosition, FencingToken, LaneName


def batch_of(lane: LaneName, stop: int, *answers: Answer, start: int = 0, commands: Sequence[Command] = ()) -> Batch:
    """A batch of a lane, for the offsets from `start` to below `stop`, with these answers."""
    token = FencingToken(lane, 1, 5, "producer")
    return Batch(ExpectedPosition(token, start, start), stop, commands=commands, answers=answers)
