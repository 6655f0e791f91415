"""A short run; the long one is `python -m tests.chaos`."""

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.run import Plan, run
from worker.tools.demo.embedded import ServerMissing

QUICK = tuple(kind for kind in FAULTS if kind not in ("kill broker", "forget group"))
"""A broker takes a quarter of a minute to come back, and so does a group whose members died."""


@pytest.mark.long
async def test_a_short_run() -> None:
    """Two workers, eight faults, one after the other or at once: every command has one result, in order.

    Longer runs were seen to fail with workers that send EndTxn twice, read E before they fence, or fence nobody.
    """
    plan = Plan(
        commands=15_000,
        faults=8,
        seed=2352,
        partitions=4,
        channels=2,
        rate=500.0,
        session_seconds=3.0,
        kinds=QUICK,
    )
    try:
        outcome = await run(plan)
    except ServerMissing as missing:
        pytest.skip(f"needs servers of its own: {missing}")
    assert not outcome.problems, f"{plan}: {outcome.problems}; logs are in {outcome.folder}"
