"""A turn takes just the records that follow on where its lane stands (guard B21)."""

from collections.abc import Sequence

import pytest

from tests.unit.builders import NOW_MS, TOPIC, command, record
from worker.batch.work import OutOfPlace, Work, halves
from worker.domain.command import Source
from worker.store.port import ExpectedPosition, FencingToken, LaneName

TOKEN = FencingToken(LaneName("group", "commands", 3), 1, 5, "producer")


def _work(start: int, offsets: Sequence[int], stop: int, *skipped: range) -> Work:
    records = [record(offset=offset) for offset in offsets]
    commands = [command(source=Source(TOPIC, 3, offset, NOW_MS)) for offset in offsets]
    return Work(ExpectedPosition(TOKEN, start, 0), records, commands, stop, skipped)


FITTING = [
    _work(5, [5, 6, 7], 8),
    _work(5, [], 5),
    _work(5, [], 9, range(5, 9)),
    _work(5, [6, 8], 10, range(5, 6), range(7, 8), range(9, 10)),
    _work(5, [9], 10, range(5, 7), range(7, 9)),
    _work(5, [5, 6], 7, range(2, 4), range(7, 9)),
]


@pytest.mark.parametrize("work", FITTING)
def test_records_that_follow_on_are_taken(work: Work) -> None:
    """Markers and aborted records, which the reader saw, explain offsets without one."""
    work.check_offsets()


def test_halves_of_work_that_fits_fit() -> None:
    """Also where a marker stands between them."""
    for half in halves(_work(5, [6, 8], 10, range(5, 6), range(7, 8), range(9, 10))):
        half.check_offsets()


@pytest.mark.parametrize(
    ("work", "text"),
    [
        (_work(5, [6, 7], 8), "expected the offset 5 next, got 6"),
        (_work(5, [4, 5, 6], 7), "expected the offset 5 next, got 4"),
        (_work(5, [5, 7], 8), "expected the offset 6 next, got 7"),
        (_work(5, [5, 7], 8, range(6, 8)), "expected the offset 8 next, got 7"),
        (_work(5, [5, 6], 8), "expected the offset 7 next, got 8"),
        (_work(5, [5, 6, 5, 6], 9), "expected the offset 7 next, got 5"),
        (_work(5, [5, 5, 7], 8), "expected the offset 6 next, got 5"),
        (_work(5, [6, 5, 7], 8), "expected the offset 5 next, got 6"),
        (_work(5, [5, 6], 6), "expected the offset 7 next, got 6"),
        (_work(5, [], 4), "expected the offset 5 next, got 4"),
    ],
)
def test_other_records_are_refused(work: Work, text: str) -> None:
    """Records of before, a gap, records that come twice or in another order, and a position that goes back."""
    with pytest.raises(OutOfPlace, match=text):
        work.check_offsets()
