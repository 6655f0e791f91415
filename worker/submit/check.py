"""Before anything is sent: each row passes the worker's rules for bodies, and earlier answers are to the same rows."""

from collections.abc import Callable
from dataclasses import dataclass

from worker.submit.answers_file import AnswersFile
from worker.submit.keys import idempotency_key
from worker.submit.row import BadFile, Row, Table


@dataclass(slots=True)
class Checked:
    """How many rows there are, how many of them are bad, and how many have an answer from an earlier run."""

    rows: int = 0
    bad: int = 0
    answered: int = 0


def check(table: Table, answers: AnswersFile | None, tell: Callable[[Row], None]) -> Checked:
    """Read all rows; `tell` hears of each. Raises `BadFile` where the answers are those of other rows."""
    checked = Checked()
    earlier = iter(()) if answers is None else answers.earlier()
    for row in table.rows():
        checked.rows += 1
        checked.bad += row.asked is None
        noted = next(earlier, None)
        if noted is not None:
            _compare(row, noted, answers)
            checked.answered += 1
        tell(row)
    if next(earlier, None) is not None:
        assert answers is not None
        raise BadFile(f"{answers.path} has more rows than the file: they are answers to another one")
    return checked


def _compare(row: Row, key: str, answers: AnswersFile | None) -> None:
    expected = "" if row.asked is None else idempotency_key(row.asked.body)
    if key != expected:
        assert answers is not None
        raise BadFile(
            f"row {row.number}, line {row.line}: {answers.path} has the answer to another row there. "
            "Is it of another file, or of other options? Move it away to begin anew"
        )
