"""Groups equal faults of rows, since a whole column is often wrong in the same way."""

from collections.abc import Iterator

from worker.tools.submit.report import FaultGroup, FaultyRow
from worker.tools.submit.table import Fault

_FIRST_ROWS = 10
_MOST_GROUPS = 100
"""Kinds of faults to keep; others are only counted."""


class Faults:
    """Counts faults and keeps the first rows of each."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._first: dict[tuple[str, str], list[FaultyRow]] = {}
        self.others = 0
        """Number of faults of kinds that are not kept."""

    def add(self, row: int, line: int, fault: Fault) -> None:
        """Count a fault of a row."""
        kind = fault.text, fault.advice
        if kind not in self._counts and len(self._counts) == _MOST_GROUPS:
            self.others += 1
            return
        self._counts[kind] = self._counts.get(kind, 0) + 1
        first = self._first.setdefault(kind, [])
        if len(first) < _FIRST_ROWS:
            first.append(FaultyRow(row=row, line=line, got=fault.got))

    def groups(self) -> Iterator[FaultGroup]:
        """The groups, in the order of their first rows in the file."""
        for (text, advice), count in self._counts.items():
            yield FaultGroup(text=text, advice=advice, rows=count, first=tuple(self._first[text, advice]))
