"""What a turn brings of each lane, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from worker.domain.command import Command
from worker.messages.envelope import Record
from worker.messages.events import Answer
from worker.store.port import BatchTooLarge, ExpectedPosition, LostLane, StoreUnavailable


@dataclass(frozen=True, slots=True)
class Work:
    """Consecutive records of one lane as commands, for the offsets from where the lane stands to below `stop`."""

    expected: ExpectedPosition
    records: Sequence[Record]
    commands: Sequence[Command]
    stop: int
    skipped: Sequence[range] = ()
    """Ranges of offsets that hold no record, as the reader of the log saw them: markers and aborted records."""

    @property
    def start(self) -> int:
        """Offset at which the lane stands."""
        return self.expected.applied

    def check_offsets(self) -> None:
        """Raise `OutOfPlace` unless the log has just these records from `start` to below `stop` (guard B21)."""
        offsets = [record.offset for record in self.records]
        if len(offsets) == self.stop - self.start and offsets == [*range(self.start, self.stop)]:
            return
        behind = {gap.start: gap.stop for gap in self.skipped}
        at = self.start
        for offset in (*offsets, self.stop):
            while at < offset and at in behind:
                at = behind[at]
            if at != offset:
                name = self.expected.token.name
                raise OutOfPlace(f"{name.topic}/{name.partition}: expected the offset {at} next, got {offset}")
            at = offset + 1


class OutOfPlace(StoreUnavailable):
    """Records do not follow on where their lane stands, or leave out a record. Nothing was done: reopen the lane."""


class InVain(StoreUnavailable):
    """A turn was rolled back again and again, and not by the doing of a record: somebody's locks, perhaps."""


Done = list[Answer] | LostLane | BatchTooLarge | StoreUnavailable
"""What became of a lane's work: its answers, one a record, or why it has none."""


def halves(work: Work) -> tuple[Work, Work]:
    """The first of its records, and the others, which follow on them."""
    middle = len(work.commands) // 2
    boundary = work.commands[middle].source.offset
    return (
        replace(work, records=work.records[:middle], commands=work.commands[:middle], stop=boundary),
        replace(
            work,
            expected=replace(work.expected, applied=boundary),
            records=work.records[middle:],
            commands=work.commands[middle:],
        ),
    )


def is_divisible(turn: Sequence[Work]) -> bool:
    """Whether less at once may go through.

    A record that is alone is too much for a database that is as good as away: that is waited for.
    """
    return sum(len(work.commands) for work in turn) > 1
