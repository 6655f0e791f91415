"""Before anything is sent: each row passes the worker's rules for bodies, and earlier answers are to the same rows."""

from collections.abc import Callable
from dataclasses import dataclass

from worker.tools.submit.answers_file import AnswersFile
from worker.tools.submit.keys import idempotency_key
from worker.tools.submit.row import BadFile, Row, Table


@dataclass(slots=True)
class Checked:
    """How many rows there are, how many of them are bad, and how many have an answer from an earlier run."""

    rows: int = 0
    bad: int = 0
    answered: int = 0


def check(table: Table, answers: AnswersFile | None, tell: Callable[[Row], None]) -> Checked:
    """Read all rows; `tell` hears of each.

    Raises `BadFile` where the answers are those of other rows, and `Changed`.
    """
    checked = Checked()
    earlier = iter(()) if answers is None else answers.earlier()
    for row in table.rows():
        checked.rows += 1
        checked.bad += row.asked is None
        if answers is not None and checked.answered == checked.rows - 1:
            checked.answered += _is_answered(row, next(earlier, None), table, answers)
        tell(row)
    if answers is not None and (next(earlier, None) is not None or (answers.torn and checked.answered == checked.rows)):
        raise BadFile(f"{answers.path} has more rows than the file: they are answers to another one")
    return checked


def _is_answered(row: Row, key: str | None, table: Table, answers: AnswersFile) -> bool:
    """Whether the answers have the next row, too, under its `key`; a torn line is none."""
    if key is None:
        is_other = answers.torn and not table.is_part(answers.torn, row)
    else:
        is_other = key != ("" if row.asked is None else idempotency_key(row.asked.body))
    if is_other:
        raise BadFile(
            f"row {row.number}, line {row.line}: {answers.path} has the answer to another row there; "
            "is it of another file, or of other options? Move it away to begin anew"
        )
    return key is not None
