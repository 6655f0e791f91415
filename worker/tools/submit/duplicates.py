"""Finds rows of a file with the same GTIN and serial number."""

from array import array
from collections import Counter
from typing import NamedTuple

from worker.tools.submit.faults import Faults
from worker.tools.submit.headers import idempotency_key, unit_of
from worker.tools.submit.table import Fault, Row, Table

_BUCKETS = 256
_TEXT = "expected a new GTIN and serial number"
_EQUAL = "the rows are equal, so this one will be answered replayed"
_DIFFERENT = "the rows differ, so this one will be answered conflict"


class _Earlier(NamedTuple):
    row: int
    line: int
    key: str


class Duplicates:
    """Finds duplicates with 8 bytes per row. It gets all rows, and reads the file again only if hashes are equal."""

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(_BUCKETS)]

    def add(self, row: Row) -> None:
        """Note a row's GTIN and serial number."""
        if row.command is not None:
            number = hash(unit_of(row.command.body))
            self._buckets[number % _BUCKETS].append(number)

    def find(self, table: Table) -> tuple[Faults, int]:
        """Rows that repeat an earlier one, and the number of those that conflict with it."""
        # Bucket by bucket, so that few hashes are counted at once.
        suspects = {number for bucket in self._buckets for number, times in Counter(bucket).items() if times > 1}
        repeats, conflicts = Faults(), 0
        earlier: dict[tuple[str, str], _Earlier] = {}
        for row in table.rows() if suspects else ():
            if row.command is None or hash(unit := unit_of(row.command.body)) not in suspects:
                continue
            key = idempotency_key(row.command.body)
            first = earlier.setdefault(unit, _Earlier(row.number, row.line, key))
            if first.row != row.number:
                is_same = first.key == key
                conflicts += not is_same
                got = f"those of row {first.row}, line {first.line}"
                repeats.add(row.number, row.line, Fault(_TEXT, got, _EQUAL if is_same else _DIFFERENT))
        return repeats, conflicts
