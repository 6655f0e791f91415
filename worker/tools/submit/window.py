"""Rows from when they are sent until their answers are written: matched by place, let out in the order of the file."""

from collections import Counter, deque
from collections.abc import Callable, Sequence

from worker.domain.places import Place
from worker.tools.common.answering import RowAnswer
from worker.tools.submit.row import Row


class Slot:
    """A row, and its answer once it is there."""

    __slots__ = ("answer", "row")

    def __init__(self, row: Row, answer: RowAnswer | None = None) -> None:
        self.row = row
        self.answer = answer


class Window:
    """At most so many rows are in it, whether they wait for an answer or for one before them.

    Results are matched by `ce_causationid`, the place where a command was acknowledged, since others may use the same
    keys. One that comes before the acknowledgement is kept until that is there; of what others sent, until then.
    """

    def __init__(self, topic: str, write: Callable[[Row, RowAnswer], None]) -> None:
        self.kept_bytes = 0
        """Of its rows, as the answers file repeats them."""
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
        """Results that are kept as somebody's."""
        return sum(map(len, self._early.values()))

    def add(self, row: Row, answer: RowAnswer | None = None) -> Slot:
        """The next row of the file; with an answer, if it is not sent."""
        slot = Slot(row, answer)
        self._rows.append(slot)
        self.kept_bytes += len(row.kept)
        self._let_out()
        return slot

    def handed_over(self, partition: int, count: int) -> None:
        """So many commands are on their way to a partition."""
        self._unacknowledged[partition] += count

    def acknowledged(self, partition: int, first_offset: int, slots: Sequence[Slot]) -> None:
        """These rows' commands stand one behind the other."""
        early = self._early.get(partition, {})
        for offset, slot in enumerate(slots, first_offset):
            if (answer := early.pop(offset, None)) is not None:
                slot.answer = answer
            else:
                self._waiting[Place(self._topic, partition, offset)] = slot
        self._unacknowledged[partition] -= len(slots)
        end = first_offset + len(slots)
        later = self._unacknowledged[partition] > 0
        self._early[partition] = {at: one for at, one in early.items() if at >= end} if later else {}
        self._let_out()

    def expects(self, cause: Place) -> bool:
        """Whether a result with this cause is that of one of our rows, or may turn out to be."""
        return cause.topic == self._topic and (cause in self._waiting or self._unacknowledged[cause.partition] > 0)

    def hear(self, cause: Place, answer: RowAnswer) -> bool:
        """Whether it is the answer to one of our rows; one that comes again is none."""
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
