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

    @property
    def start(self) -> int:
        """Offset at which the lane stands."""
        return self.expected.applied


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
