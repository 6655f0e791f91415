"""The worker holds in every schedule; what is unsafe is caught in some."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.model.kafka import Broken
from tests.model.process import replaced, simulated
from tests.model.shortcuts import HARMLESS, UNSAFE, Shortcut, name_of
from tests.model.world import World

SCHEDULES = int(os.environ.get("PASSPORT_TEST_SCHEDULES", "200"))
"""More look more closely: 10,000 take some five minutes of one core (with `-o timeout=0`)."""

ENOUGH = 2_000
"""Schedules within which the rarest accident happens some ten times; a test stops at the first."""


@pytest.fixture(autouse=True)
def _simulated() -> Iterator[None]:
    with simulated():
        yield


def _run(schedules: range, *shortcuts: Shortcut, **weather: Any) -> None:
    with ExitStack() as stack:
        for shortcut in shortcuts:
            stack.enter_context(replaced(shortcut()))
        for seed in schedules:
            try:
                World(seed, **weather).run()
            except Broken as broken:
                raise Broken(f"seed {seed}: {broken}") from None


def test_each_command_gets_one_result() -> None:
    """One, and in order, whatever breaks."""
    _run(range(SCHEDULES))


@pytest.mark.repeat
def test_each_command_gets_one_result_in_many_more_schedules() -> None:
    """Schedules that no other test has tried."""
    _run(range(SCHEDULES, 3 * SCHEDULES))


def test_a_seed_tells_all() -> None:
    """The same schedule can be looked at again."""
    stories: list[list[str]] = [[], []]
    for story in stories:
        World(7, story.append).run()
    assert stories[0] == stories[1]


@pytest.mark.parametrize("shortcut", HARMLESS, ids=lambda shortcut: shortcut.__name__)
def test_what_is_harmless_holds_as_well(shortcut: Shortcut) -> None:
    """Each by itself."""
    _run(range(SCHEDULES // 5), shortcut)


@pytest.mark.parametrize("shortcuts", UNSAFE, ids=name_of)
def test_an_unsafe_shortcut_is_caught(shortcuts: tuple[Shortcut, ...]) -> None:
    """Some result is published twice, or never."""
    with pytest.raises(Broken, match=r"doubled|lost|out of order|not what the ledger says"):
        _run(range(ENOUGH), *shortcuts, **UNSAFE[shortcuts])
