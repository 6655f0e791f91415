"""Rows in flight. They are matched to results by place, and leave in the order of the file."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.domain.places import Place
from worker.tools.common.answering import RowAnswer
from worker.tools.submit.table import Row


@dataclass(slots=True)
class Slot:
    """A row, and its answer once there is one."""

    row: Row
    answer: RowAnswer | None


class RowWindow:
    """Rows that wait for their own answer, or for the answer of a row before them.

    Results are matched by `ce_causationid`, the place where a command was acknowledged: others may use the same keys.
    A result that comes before the acknowledgement is kept until then, and so are results of other people's commands.
    """

    def __init__(self, topic: str, write: Callable[[Row, RowAnswer], None]) -> None:
        self.kept_bytes = 0
        """Size of these rows in the answers file."""
        self._topic = topic
        self._write = write
        self._rows: deque[Slot] = deque()
        self._waiting: dict[Place, Slot] = {}
        self._unacknowledged: Counter[int] = Counter()
        self._early: dict[int, dict[int, RowAnswer]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def early(self) -> int:
        """Number of results that are kept because they may belong to unacknowledged commands."""
        return sum(map(len, self._early.values()))

    def add(self, row: Row, answer: RowAnswer | None = None) -> Slot:
        """Add the next row of the file, with its answer if it is not sent."""
        slot = Slot(row, answer)
        self._rows.append(slot)
        self.kept_bytes += len(row.kept)
        self._let_out()
        return slot

    def handed_over(self, partition: int, count: int) -> None:
        """Note that commands are on their way to a partition."""
        self._unacknowledged[partition] += count

    def acknowledged(self, partition: int, first_offset: int, slots: Sequence[Slot]) -> None:
        """Note the places of these rows' commands, which are consecutive."""
        early = self._early.get(partition, {})
        for offset, slot in enumerate(slots, first_offset):
            if (answer := early.pop(offset, None)) is not None:
                slot.answer = answer
            else:
                self._waiting[Place(self._topic, partition, offset)] = slot
        self._unacknowledged[partition] -= len(slots)
        end = first_offset + len(slots)
        later = self._unacknowledged[partition] > 0
        # The next delivery may begin right at `end`, and its results may be here already. If nothing more is under way,
        # the rest answers commands of other people.
        self._early[partition] = {at: answer for at, answer in early.items() if at >= end} if later else {}
        self._let_out()

    def expects(self, cause: Place) -> bool:
        """Whether a result with this cause answers one of these rows, or may turn out to."""
        return cause.topic == self._topic and (cause in self._waiting or self._unacknowledged[cause.partition] > 0)

    def hear(self, cause: Place, answer: RowAnswer) -> bool:
        """Take a result. Returns whether it is the first answer to one of these rows."""
        slot = self._waiting.pop(cause, None)
        if slot is not None:
            slot.answer = answer
            self._let_out()
            return True
        if cause.topic == self._topic and self._unacknowledged[cause.partition] > 0:
            self._early.setdefault(cause.partition, {})[cause.offset] = answer
        return False

    def _let_out(self) -> None:
        rows = self._rows
        while rows and (answer := rows[0].answer) is not None:
            row = rows.popleft().row
            self.kept_bytes -= len(row.kept)
            self._write(row, answer)
