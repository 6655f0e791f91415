"""Cells that a spreadsheet has spoiled, and hints for those that the rules refuse."""

import re
from typing import NamedTuple

from worker.domain import gs1
from worker.tools.submit.fields import GTIN

_DIGITS = frozenset("0123456789")
_IDENTIFIERS = frozenset({"productId", "gtin", "serialNumber", "gln", "legacyOperatorId"})
"""Fields whose digits matter, by the last name of their paths."""
_FREE = frozenset({"serialNumber", "legacyOperatorId"})
"""Of these, the fields in which the rules allow nearly any text."""
_LENGTHS = {"gtin": 14, "gln": 13}
_KEPT_DIGITS = 15
"""The digits that a spreadsheet keeps of a number. It writes zeros for the others."""
_ZEROS = "000"
"""This many zeros in the other places are no chance."""
_ROUNDED = re.compile(r"-?[0-9](?:[.,][0-9]+)?[eE]\+[0-9]{1,3}")
_WITH_DECIMALS = re.compile(r"[0-9]+[.,]0+")
_FORMULA = re.compile(r'="[^"]*"')
_TOO_NARROW = re.compile(r"##+")
_ERRORS = frozenset(
    {
        *("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!", "#SPILL!", "#CALC!"),
        *("#NV", "#BEZUG!", "#WERT!", "#ZAHL!", "#ÜBERLAUF!", "#KALK!"),
    }
)
_SAVE_AGAIN = "and save the sheet as CSV again"
_AS_NUMBER = f"format the column as a number without decimals, {_SAVE_AGAIN}"
_FROM_SOURCE = "take the column from its source again, as text"
_AS_TEXT = f"a spreadsheet keeps {_KEPT_DIGITS} digits of a number: {_FROM_SOURCE}, {_SAVE_AGAIN}"


class Flaw(NamedTuple):
    """The damage that a spreadsheet has done to a cell, and what to do about it."""

    text: str
    advice: str


def flaw_of(path: str, cell: str) -> Flaw | None:
    """The flaw of a cell that a spreadsheet has spoiled.

    Most of these cells would pass all rules as a serial number or a name, and mark the unit for good.
    """
    if cell in _ERRORS:
        return Flaw("a spreadsheet error is here in place of a value", f"correct it in the sheet, {_SAVE_AGAIN}")
    if _TOO_NARROW.fullmatch(cell):
        return Flaw("the column was too narrow to show its value", f"widen it in the sheet, {_SAVE_AGAIN}")
    name = path.rpartition(".")[2]
    if name in _IDENTIFIERS:
        if _ROUNDED.fullmatch(cell.strip()):
            advice = _AS_NUMBER if name in _LENGTHS else _AS_TEXT
            return Flaw("a spreadsheet has rounded this number, and digits are lost", advice)
        if _FORMULA.fullmatch(cell):
            return Flaw("a formula is here in place of its value", "save the value alone, without = and quotes")
    return _flaw_of_free(cell) if name in _FREE else None


def _flaw_of_free(cell: str) -> Flaw | None:
    """A flaw that no rule finds in a serial number, but that makes it differ from the number on the unit."""
    if _DIGITS.issuperset(cell) and (rest := cell[_KEPT_DIGITS:]).startswith(_ZEROS) and not rest.strip("0"):
        return Flaw("a spreadsheet has put zeros for the last digits of this number", _AS_TEXT)
    if cell != cell.strip():
        return Flaw("there is white space around this value", "remove it in the sheet")
    if not cell.isprintable() and gs1.is_safe(cell):  # the rules tell of control characters
        return Flaw("there is an invisible character in this value", "remove it in the sheet")
    return None


def may_be_spoiled(cell: str) -> bool:
    """Whether `flaw_of` may find anything. Costs next to nothing."""
    # Each flaw of `flaw_of` needs its sign here: a cell without a sign is not examined.
    return "+" in cell or cell.startswith(("#", "=", " ")) or cell.endswith((_ZEROS, " ")) or not cell.isprintable()


def hint(path: str, cell: str, *, pads_gtin: bool) -> tuple[str, str]:
    """For a cell that the rules refuse: text to append to the cell in a sentence, and advice. Either may be empty."""
    length = _LENGTHS.get(path.rpartition(".")[2])
    if cell != cell.strip():
        return "", "remove the white space around it"
    if length is None:
        return "", ""
    if _WITH_DECIMALS.fullmatch(cell):
        return "", _AS_NUMBER
    if not _DIGITS.issuperset(cell) or not 1 < len(cell) <= length:
        return "", ""
    lacks_zeros = path == GTIN and len(cell) < length
    digit = gs1.with_check_digit(cell[:-1])[-1]
    is_wrong = digit != cell[-1] and (lacks_zeros or len(cell) == length)
    return (
        f", whose check digit should be {digit}" if is_wrong else "",
        "--pad-gtin puts back leading zeros" if lacks_zeros and not pads_gtin else "",
    )
