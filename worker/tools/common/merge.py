"""Commands of one partition beside the results and dead letters that name them, by offset, however long the logs."""

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from worker.messages.envelope import Record

LOOK_AHEAD = 50
"""So many records in a row that name later commands end a window. A few that stand too early do not."""


class Named(NamedTuple):
    """A published record, and the offset of the command that it names."""

    cause: int
    record: Record


class CauseLog:
    """One log of results, or of dead letters: those records of it that name commands of one partition.

    The first results of commands stand in the order of the commands, and repeats of them anywhere behind. So the log
    has no more of the commands below an offset once all that follows names commands above. A forged record in the
    middle may name any command, or none: it ends nothing.
    """

    def __init__(self, records: AsyncIterator[list[Record]], cause: Callable[[Record], int | None]) -> None:
        """`cause` is the offset of the command that a record names; None for one of another partition, or of none."""
        self._records, self._cause = records, cause
        self.stray: Callable[[Record, int | None], None] = _ignored
        """Told of a record and its cause, where that is None or behind all that is asked for."""
        self._ahead: list[Named] = []
        """Records that name commands behind all windows so far, in the order of the log."""
        self._run = 0
        """How many of them stand in a row at its end."""

    def go_on(self, records: AsyncIterator[list[Record]]) -> None:
        """The log has more by now."""
        self._records = records

    async def until(self, stop: int, limit: int) -> AsyncIterator[list[Named]]:
        """All that is left of commands below `stop`, in pieces, some of them empty.

        What names a command at `limit` or behind it is stray.
        """
        held, self._ahead, self._run = self._ahead, [], 0
        yield self._sort(held, stop, limit)
        while self._run < LOOK_AHEAD:
            try:
                records = await anext(self._records)
            except StopAsyncIteration:
                return
            yield self._sort(self._named(records), stop, limit)

    def _named(self, records: list[Record]) -> list[Named]:
        named = []
        for record in records:
            cause = self._cause(record)
            if cause is not None:
                named.append(Named(cause, record))
            else:
                self.stray(record, None)
        return named

    def _sort(self, named: list[Named], stop: int, limit: int) -> list[Named]:
        """Those that are asked for; the others wait."""
        found = []
        for each in named:
            if each.cause < stop:
                found.append(each)
                self._run = 0
            elif each.cause < limit:
                self._ahead.append(each)
                self._run += 1
            else:
                self.stray(each.record, each.cause)
        return found


def _ignored(_record: Record, _cause: int | None) -> None:
    """Nobody asks for strays."""
