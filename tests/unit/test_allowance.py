"""`--rate` of `submit`, `replay` and `audit`: never faster than it says, whatever held the verb up before."""

from types import SimpleNamespace

import pytest

from worker.tools.common import progress
from worker.tools.common.progress import Allowance, Progress, paced


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What a verb waits for. Other tasks of the event loop wait as always.

    Seen to take all memory: one of them, of an earlier test, asked an `asyncio.sleep` for ever that did not wait.
    """
    slept = list[float]()

    async def sleep(duration: float) -> None:
        slept.append(duration)

    monkeypatch.setattr(progress, "asyncio", SimpleNamespace(sleep=sleep))
    return slept


@pytest.mark.parametrize(("per_second", "burst"), [(10.0, 10), (0.5, 1), (2500.0, 2500)])
def test_a_stall_makes_no_burst(per_second: float, burst: int) -> None:
    """After an hour the allowance is a second's worth, not an hour's; then it goes on at its pace."""
    allowance = Allowance(per_second, 100.0)
    assert allowance.available(100.0) == 1
    allowance.take(1)
    assert allowance.available(100.0) == 0
    assert allowance.available(3700.0) == burst
    allowance.take(burst)
    assert allowance.available(3700.0) == 0
    assert allowance.available(3700.0 + 4 / per_second) == min(4, burst)


def test_looking_often_loses_nothing() -> None:
    """Parts of a record add up."""
    allowance, taken = Allowance(3.0, 0.0), 0
    for step in range(1, 1001):
        records = allowance.available(step / 50)
        allowance.take(records)
        taken += records
    assert taken == pytest.approx(1 + 3 * 20, abs=1)


def test_what_was_taken_too_early_is_owed() -> None:
    """A window of 300 records at 60 a second takes its five seconds afterwards."""
    allowance = Allowance(60.0, 0.0)
    allowance.take(301)
    assert allowance.seconds_owed(0.0) == pytest.approx(5.0)
    assert allowance.seconds_owed(4.0) == pytest.approx(1.0)
    assert allowance.seconds_owed(60.0) == 0.0


async def test_a_paced_verb_saves_up_a_second_at_most(slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that do not count cost no time. After a window that took an hour, the next one is not for nothing."""
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    advance = paced(Progress(), 10.0)
    await advance(1000, 0)
    await advance(31, 31)
    assert slept == [0.0, pytest.approx(3.0)]
    now[0] += 3600.0
    await advance(10, 10)
    await advance(10, 10)
    await advance(10, 10)
    assert slept[2:] == [0.0, 0.0, pytest.approx(1.0)]


async def test_rate_0_is_no_limit(slept: list[float]) -> None:
    """The event loop still gets its turn."""
    await paced(Progress(), 0.0)(1_000_000, 1_000_000)
    assert slept == [0.0]
