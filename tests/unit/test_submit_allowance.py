"""`submit --rate` never sends faster than it was told, whatever held it up before."""

import pytest

from worker.tools.submit.allowance import Allowance


@pytest.mark.parametrize(("per_second", "burst"), [(10.0, 10), (0.5, 1), (2500.0, 2500)])
def test_a_stall_makes_no_burst(per_second: float, burst: int) -> None:
    """After an hour there is a second's worth, not an hour's; then it goes on at its pace."""
    allowance = Allowance(per_second, 100.0)
    assert allowance.rows(100.0) == 1
    allowance.take(1)
    assert allowance.rows(100.0) == 0
    assert allowance.rows(3700.0) == burst
    allowance.take(burst)
    assert allowance.rows(3700.0) == 0
    assert allowance.rows(3700.0 + 4 / per_second) == min(4, burst)


def test_looking_often_loses_nothing() -> None:
    """Parts of a row add up."""
    allowance, taken = Allowance(3.0, 0.0), 0
    for step in range(1, 1001):
        rows = allowance.rows(step / 50)
        allowance.take(rows)
        taken += rows
    assert taken == pytest.approx(1 + 3 * 20, abs=1)
