"""Commands of one partition beside the results and dead letters that name them, by offset, however long the logs."""

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from worker.messages.envelope import Record


class Named(NamedTuple):
    """A published record, and the offset of the command that it names."""

    cause: int
    record: Record


class CauseLog:
    """One log of results, or of dead letters: those records of it that name commands of one partition.

    The first results of commands stand in the order of the commands, and repeats of them anywhere behind: what belongs
    to the commands below an offset is all that stands in front of the first record that names one above.
    """

    def __init__(self, records: AsyncIterator[list[Record]], cause: Callable[[Record], int | None]) -> None:
        """`cause` is the offset of the command that a record names; None for one of another partition, or of none."""
        self._records, self._cause = records, cause
        self._held: list[Record] = []
        self._at = 0

    def go_on(self, records: AsyncIterator[list[Record]]) -> None:
        """The log has more by now."""
        self._records = records

    async def until(self, stop: int) -> AsyncIterator[list[Named]]:
        """All that is left in front of the first record that names a command at `stop` or behind it, in pieces."""
        while True:
            found: list[Named] = []
            for at in range(self._at, len(self._held)):
                record = self._held[at]
                cause = self._cause(record)
                if cause is not None:
                    if cause >= stop:
                        self._at = at
                        yield found
                        return
                    found.append(Named(cause, record))
            if found:
                yield found
            try:
                self._held, self._at = await anext(self._records), 0
            except StopAsyncIteration:
                self._held, self._at = [], 0
                return
