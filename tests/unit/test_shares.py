"""Lanes share the memory of their worker as they share the records of a batch."""

import pytest

from worker.stream.assignment import LANES_BYTES, share_of
from worker.stream.lane import Share

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("lanes", "share"),
    [
        (1, Share(2000, 16 * MIB, 8 * MIB)),
        (4, Share(500, 4 * MIB, 4 * MIB)),
        (16, Share(125, MIB, MIB)),
        (1000, Share(100, MIB, MIB)),
    ],
)
def test_more_lanes_hold_less_each(lanes: int, share: Share) -> None:
    """All together as much as one; very many lanes still have enough for a batch of a hundred commands."""
    assert share_of(lanes, 2000) == share
    assert lanes > 16 or lanes * share.held_bytes <= LANES_BYTES


def test_a_worker_with_small_batches_has_small_shares() -> None:
    """The setting is the most that a lane takes."""
    assert share_of(1, 10).records == 10
