"""Why there is no answer to a command, and what is odd where there is one: a table of what both servers may know."""

import pytest

from tests.unit.builders import COMPANY, NOW_MS, TOPIC, record
from worker.domain.places import Place
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.store.port import Position
from worker.stream.log_reader import Bounds
from worker.tools.common.inspection import LaneRow
from worker.tools.explain.evidence import Evidence, conclude
from worker.tools.explain.report import State

PLACE = Place(TOPIC, 3, 7)
LOG = Bounds(0, 100)
EXPIRED = Bounds(50, 100)
ENDED = Bounds(0, 7)
COMMAND = record()
ANSWER = Answer(7, NOW_MS, Kind.REJECTED, "k", b"{}", COMPANY)


def lane(applied: int, ledger_from: int = 0) -> LaneRow:
    """At this A."""
    return LaneRow(1, 1, Position(applied, ledger_from, ledger_from))


NEW = LaneRow(1, 1, None)

BOTH: list[tuple[Evidence, State, bool, str]] = [
    (Evidence(PLACE, COMMAND, LOG, 8, lane(8), ANSWER, result=COMMAND), "answered", False, ""),
    (Evidence(PLACE, COMMAND, LOG, 7, lane(8), ANSWER), "answered", False, "not published yet"),
    (
        Evidence(PLACE, COMMAND, LOG, 8, lane(8), ANSWER),
        "answered",
        False,
        "retention of its topic may have deleted it",
    ),
    (Evidence(PLACE, None, EXPIRED, 8, lane(8), ANSWER, result=COMMAND), "answered", False, "has expired from the log"),
    (Evidence(PLACE, COMMAND, LOG, 8, lane(8), ANSWER, False, COMMAND), "answered", False, "was read from the result"),
    (Evidence(PLACE, COMMAND, LOG, None, None), "waiting", False, "No worker has opened this lane yet"),
    (Evidence(PLACE, COMMAND, LOG, None, NEW), "waiting", False, "No worker has opened this lane yet"),
    (Evidence(PLACE, COMMAND, LOG, 5, lane(5)), "waiting", False, "The lane is at 5, 2 offsets before it."),
    (Evidence(PLACE, COMMAND, LOG, 7, lane(7)), "waiting", False, "The lane decides it next."),
    (
        Evidence(PLACE, COMMAND, LOG, 9, lane(9, 8)),
        "dropped",
        False,
        "dropped from the ledger with its day, 2026-05-09",
    ),
    (Evidence(PLACE, COMMAND, LOG, 9, lane(9)), "missing", True, "the answer is missing there"),
    (Evidence(PLACE, None, LOG, 9, lane(9)), "no-command", True, "a transaction's marker"),
    (Evidence(PLACE, None, None, 9, lane(9)), "beyond-the-end", True, "The topic has no partition 3."),
    (Evidence(PLACE, None, ENDED, 5, lane(5)), "beyond-the-end", True, "The log ends at 7"),
    (Evidence(PLACE, None, EXPIRED, None, None), "expired", True, "Nobody knows what became of it"),
    (Evidence(PLACE, None, EXPIRED, 5, lane(5)), "expired", True, "before it was answered: the lane is at 5"),
    (Evidence(PLACE, None, EXPIRED, 60, lane(60, 55)), "expired", True, "from the ledger, which begins at 55"),
    (Evidence(PLACE, None, EXPIRED, 60, lane(60)), "no-command", True, "has no answer, so this was no command"),
]

NO_POSTGRES: list[tuple[Evidence, State, bool, str]] = [
    (Evidence(PLACE, COMMAND, LOG, 8, None, ANSWER, False, COMMAND), "answered", False, "was read from the result"),
    (Evidence(PLACE, COMMAND, LOG, 8), "unknown", True, "its result was not found"),
    (Evidence(PLACE, COMMAND, LOG, 7), "waiting", False, "No result of it is visible"),
    (Evidence(PLACE, None, LOG, 7), "no-command", True, "a transaction's marker"),
]

NO_KAFKA: list[tuple[Evidence, State, bool, str]] = [
    (Evidence(PLACE, lane=lane(8), answer=ANSWER), "answered", False, ""),
    (Evidence(PLACE, lane=lane(5)), "unknown", True, "It is not answered: the lane is at 5."),
    (Evidence(PLACE, lane=lane(9, 8)), "unknown", True, "the ledger begins at 8"),
    (Evidence(PLACE, lane=lane(9)), "unknown", True, "a transaction's marker or an aborted record"),
]

CASES = [
    *((True, True, *one) for one in BOTH),
    *((False, True, *one) for one in NO_POSTGRES),
    *((True, False, *one) for one in NO_KAFKA),
    (False, False, Evidence(PLACE), "unknown", True, ""),
]


@pytest.mark.parametrize(("knows_lanes", "knows_log", "evidence", "state", "is_wrong", "note"), CASES)
def test_what_became_of_a_command(
    knows_lanes: bool, knows_log: bool, evidence: Evidence, state: State, is_wrong: bool, note: str
) -> None:
    """The state, whether something is wrong, and what is told: one sentence, or none."""
    conclusion = conclude(evidence, knows_lanes=knows_lanes, knows_log=knows_log)
    assert (conclusion.state, conclusion.is_wrong) == (state, is_wrong)
    assert note in " ".join(conclusion.notes)
    assert bool(conclusion.notes) is bool(note)
