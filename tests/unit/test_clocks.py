"""By how much three clocks differ at least, where the broker's is known only from a record and its age."""

from math import inf

import pytest

from worker.store.clocks import NewestRecord, clock_difference

NOW, DAY, LOOK = 1_800_000_000.0, 86_400.0, 600.0


@pytest.mark.parametrize(
    ("postgres", "newest", "difference"),
    [
        (0, None, 0),
        (DAY, None, DAY),
        (-DAY, None, DAY),
        (0, NewestRecord(NOW - 30 * DAY, inf), 0),
        (DAY, NewestRecord(NOW - 30 * DAY, inf), DAY),
        (0, NewestRecord(NOW + DAY, inf), DAY),
        (DAY, NewestRecord(NOW + DAY, inf), DAY),
        (-DAY, NewestRecord(NOW, inf), DAY),
        (0, NewestRecord(NOW - LOOK, LOOK), 0),
        (0, NewestRecord(NOW - LOOK / 2, LOOK), 0),
        (0, NewestRecord(NOW - LOOK - DAY, LOOK), DAY),
        (DAY, NewestRecord(NOW - LOOK, LOOK), DAY),
        (-DAY, NewestRecord(NOW - LOOK - DAY, LOOK), DAY),
    ],
)
def test_the_difference_that_is_certain(postgres: float, newest: NewestRecord | None, difference: float) -> None:
    """An installation that is idle has an old record, and is well; one whose log has just grown by it is not."""
    assert clock_difference(NOW, NOW + postgres, newest) == difference
