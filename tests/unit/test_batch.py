"""A turn takes just the records that follow on where its lane stands (guard B21)."""

from collections.abc import Sequence

import pytest

from tests.unit.builders import NOW_MS, TOPIC, command, record
from worker.batch.batch import Batch, OutOfPlace
from worker.domain.command import Source
from worker.store.port import ExpectedPosition, FencingToken, LaneName

TOKEN = FencingToken(LaneName("group", "commands", 3), 1, 5, "producer")


def _batch(start: int, offsets: Sequence[int], stop: int, *skipped: range) -> Batch:
    records = [record(offset=offset) for offset in offsets]
    commands = [command(source=Source(TOPIC, 3, offset, NOW_MS)) for offset in offsets]
    return Batch(ExpectedPosition(TOKEN, start, 0), stop, records, skipped, commands=commands)


FITTING = [
    _batch(5, [5, 6, 7], 8),
    _batch(5, [], 5),
    _batch(5, [], 9, range(5, 9)),
    _batch(5, [6, 8], 10, range(5, 6), range(7, 8), range(9, 10)),
    _batch(5, [9], 10, range(5, 7), range(7, 9)),
    _batch(5, [5, 6], 7, range(2, 4), range(7, 9)),
]


@pytest.mark.parametrize("batch", FITTING)
def test_records_that_follow_on_are_taken(batch: Batch) -> None:
    """Markers and aborted records, which the reader saw, explain offsets without one."""
    batch.check_offsets()


def test_halves_of_a_batch_that_fits_fit() -> None:
    """Also where a marker stands between them."""
    for half in _batch(5, [6, 8], 10, range(5, 6), range(7, 8), range(9, 10)).halves():
        half.check_offsets()


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        (_batch(5, [6, 7], 8), "expected the offset 5 next, got 6"),
        (_batch(5, [4, 5, 6], 7), "expected the offset 5 next, got 4"),
        (_batch(5, [5, 7], 8), "expected the offset 6 next, got 7"),
        (_batch(5, [5, 7], 8, range(6, 8)), "expected the offset 8 next, got 7"),
        (_batch(5, [5, 6], 8), "expected the offset 7 next, got 8"),
        (_batch(5, [5, 6, 5, 6], 9), "expected the offset 7 next, got 5"),
        (_batch(5, [5, 5, 7], 8), "expected the offset 6 next, got 5"),
        (_batch(5, [6, 5, 7], 8), "expected the offset 5 next, got 6"),
        (_batch(5, [5, 6], 6), "expected the offset 7 next, got 6"),
        (_batch(5, [], 4), "expected the offset 5 next, got 4"),
    ],
)
def test_other_records_are_refused(batch: Batch, text: str) -> None:
    """Records of before, a gap, records that come twice or in another order, and a position that goes back."""
    with pytest.raises(OutOfPlace, match=text):
        batch.check_offsets()
