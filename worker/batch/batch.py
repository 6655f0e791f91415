"""A batch: one lane's share of a turn, with its records, commands and answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from worker.domain.command import Command
from worker.messages.envelope import Envelope, Record
from worker.messages.events import Answer
from worker.observability.hooks import Activity
from worker.store.port import BatchTooLarge, ExpectedPosition, LaneName, LostLane, StoreUnavailable


@dataclass(slots=True, eq=False)
class Batch:
    """Consecutive records of one lane, from the lane's position to below `stop`.

    Each step of a turn adds its part: the inbox the records, the session the commands, and the processor one
    answer per record, or the error that kept it from applying the batch.
    """

    expected: ExpectedPosition
    stop: int
    records: Sequence[Record] = ()
    # Ranges of offsets that hold no record, as the reader of the log saw them: markers and aborted records.
    skipped: Sequence[range] = ()
    # Bytes that the records take in memory.
    size: int = 0
    # Envelopes of the first records, which were opened ahead of the turn.
    envelopes: Sequence[Envelope] = ()
    commands: Sequence[Command] = ()
    answers: Sequence[Answer] = ()
    error: LostLane | BatchTooLarge | StoreUnavailable | None = None

    @property
    def lane(self) -> LaneName:
        """The partition, as the worker's group reads it."""
        return self.expected.token.name

    @property
    def start(self) -> int:
        """The offset of the first record: the lane's position."""
        return self.expected.applied

    @property
    def activity(self) -> Activity:
        """The name of this batch for the hooks."""
        return Activity(self.lane, self.start)

    def check_offsets(self) -> None:
        """Raise `OutOfPlace` unless these are all commands of the log from `start` to below `stop` (guard B21)."""
        # By the commands, not the records, so that an envelope that was opened for another record shows, too.
        offsets = [command.source.offset for command in self.commands]
        if len(offsets) == self.stop - self.start and offsets == [*range(self.start, self.stop)]:
            return
        ends = {gap.start: gap.stop for gap in self.skipped}
        expected = self.start
        for offset in (*offsets, self.stop):
            while expected < offset and expected in ends:
                expected = ends[expected]
            if expected != offset:
                raise OutOfPlace(
                    f"{self.lane.topic}/{self.lane.partition}: expected the offset {expected} next, got {offset}"
                )
            expected = offset + 1

    def halves(self) -> tuple["Batch", "Batch"]:
        """Two batches: the first half of the commands, and the rest."""
        middle = len(self.commands) // 2
        boundary = self.commands[middle].source.offset
        first = replace(self, records=self.records[:middle], commands=self.commands[:middle], stop=boundary)
        second = replace(
            self,
            expected=replace(self.expected, applied=boundary),
            records=self.records[middle:],
            commands=self.commands[middle:],
        )
        return first, second


class OutOfPlace(StoreUnavailable):
    """The records do not continue at the lane's position, or one is missing. Nothing was done: reopen the lane."""


class RetriesExhausted(StoreUnavailable):
    """Every attempt at a turn was rolled back, and no record is to blame: somebody may hold locks for long."""


def is_divisible(turn: Sequence[Batch]) -> bool:
    """Whether a smaller turn may go through.

    A single record is too much only for a database that hardly answers. The worker then waits for the database.
    """
    return sum(len(batch.commands) for batch in turn) > 1
