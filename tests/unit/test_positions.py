"""When a lane must not run, and that the reason says what to do."""

import pytest

from worker.store.port import Position
from worker.stream.positions import reason_to_halt

APPLIED = Position(applied=100, emitted=90, ledger_from=50)


@pytest.mark.parametrize(
    ("emitted", "first", "end"),
    [(100, 0, 100), (100, 100, 100), (50, 0, 100), (90, 20, 500)],
    ids=["in step", "log starts at A", "all of the ledger", "behind"],
)
def test_positions_that_fit_together(emitted: int, first: int, end: int) -> None:
    """Equal, or with answers to emit again that the ledger still has."""
    assert reason_to_halt(APPLIED, emitted, first, end) is None


@pytest.mark.parametrize(
    ("emitted", "first", "end", "advice"),
    [
        (101, 0, 200, "reset the group's offset of this partition back to 100"),
        (49, 0, 200, "Reset the group's offset of this partition to 50 or later, up to 100"),
        (100, 101, 200, "Publish commands 100 to 100 again"),
        (100, 0, 99, "Use a new topic name or group id"),
    ],
    ids=["E > A", "below the ledger", "commands expired", "topic made anew"],
)
def test_positions_that_contradict_each_other(emitted: int, first: int, end: int, advice: str) -> None:
    """The lane halts, and whoever reads why knows the next step."""
    reason = reason_to_halt(APPLIED, emitted, first, end)
    assert reason is not None
    assert advice in reason
    assert f"E={emitted}" in reason
