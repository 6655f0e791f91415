"""The protocol holds in every schedule; what is unsafe is caught in some."""

import os

import pytest

from tests.model.steps import Broken
from tests.model.variant import Variant
from tests.model.world import World

SCHEDULES = int(os.environ.get("PASSPORT_TEST_SCHEDULES", "500"))
"""More look more closely: 100,000 take some six minutes (with `-o timeout=0`)."""

ENOUGH = 10_000
"""Schedules within which the rarest accident happens some ten times; a test stops at the first."""


def _run(variant: Variant, schedules: int) -> None:
    for seed in range(schedules):
        try:
            World(seed, variant).run()
        except Broken as broken:
            raise Broken(f"seed {seed}: {broken}") from None


def test_the_protocol_holds() -> None:
    """Each command gets one result, in order, whatever breaks."""
    _run(Variant(), SCHEDULES)


@pytest.mark.long
def test_the_protocol_holds_in_many_more() -> None:
    """Schedules that no other test has tried."""
    _run(Variant(), 5 * SCHEDULES)


@pytest.mark.parametrize(
    "variant",
    [
        # Generations only keep members from taking each other's lanes for nothing.
        Variant(generations_ignored=True),
        # An abort that is under way is a fence already; to wait for its end takes longer.
        Variant(abort_waited_for=True),
        # Two guards against offsets that are committed after EndTxn's answer, each enough; without both, see below.
        Variant(own_id_taken_off=True),
        Variant(unstable_e=True),
        # Two guards against what was fetched before a lane was opened anew, each enough; without both, see below.
        Variant(old_polls_fed=True),
        Variant(batches_unchecked=True),
        # What is late is refused by its epoch, too.
        Variant(nothing_verified=True),
    ],
    ids=str,
)
def test_what_is_harmless_holds_as_well(variant: Variant) -> None:
    """Each by itself."""
    _run(variant, SCHEDULES // 5)


@pytest.mark.parametrize(
    "variant",
    [
        Variant(only_last_owner=True),
        Variant(e_read_early=True),
        Variant(nobody_fenced=True),
        Variant(concurrent_is_fenced=True),
        Variant(prepare_commit_is_fenced=True),
        Variant(end_txn_sent_again=True),
        Variant(offsets_sent_again=True),
        Variant(own_old_id_trusted=True),
        Variant(list_cut_unchecked=True),
        Variant(own_id_taken_off=True, unstable_e=True),
        Variant(lower_bound_believed=True),
    ],
    ids=str,
)
def test_an_unsafe_shortcut_is_caught(variant: Variant) -> None:
    """Some result is published twice."""
    with pytest.raises(Broken, match="doubled"):
        _run(variant, ENOUGH)


def test_records_of_before_a_reopening_lose_others() -> None:
    """A poll that is late hands them to a lane that was opened anew: it leaves out others, or takes these twice."""
    with pytest.raises(Broken, match=r"lost|doubled|not what the ledger says"):
        _run(Variant(old_polls_fed=True, batches_unchecked=True), ENOUGH)


def test_brokers_before_3_9_1_lose_results() -> None:
    """Offsets count with the transaction before theirs; when theirs is aborted, nobody emits its results again."""
    with pytest.raises(Broken, match="lost"):
        _run(Variant(offsets_settle_late=True), ENOUGH)
