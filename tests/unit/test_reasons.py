"""What operators count: every refusal has a code, and a plan's limits are told by plan, not by company."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from tests.unit.builders import LINK_BASE, NO_OVERAGE, PLAN, command, facts
from worker.batch.pipeline import decide_all
from worker.batch.recovery import PROCESSING_FAILED
from worker.domain.outcomes import Created, Outcome, Replayed
from worker.messages.reasons import DEAD_LETTER_REASONS, count_by_plan, count_refusals
from worker.messages.rules import REFUSALS
from worker.stream.lenient_batches import NAME_NOT_UTF8

WORKER = Path(__file__).parents[2] / "worker"


def test_every_outcome_but_created_and_replayed_has_a_code_of_its_own() -> None:
    """A new outcome cannot be forgotten here."""
    assert set(REFUSALS) == set(get_args(Outcome)) - {Created, Replayed}
    assert len({refusal.code for refusal in REFUSALS.values()}) == len(REFUSALS)


def _codes_in_the_code() -> Iterator[str]:
    for path in WORKER.rglob("*.py"):
        # Not by `ast.parse`, which in CPython 3.11 fails now and then when garbage is collected under it.
        yield from re.findall(r'(?:UnreadableRecord|_Refused)\(\s*"([a-z0-9-]+)"', path.read_text(encoding="utf-8"))


def test_the_reasons_of_dead_letters_are_all_that_the_code_gives() -> None:
    """One that is missing would appear at 1, and the alert on an increase would not see it."""
    assert {*_codes_in_the_code(), NAME_NOT_UTF8, PROCESSING_FAILED} == set(DEAD_LETTER_REASONS)


def test_answers_are_counted_by_the_plan_of_their_company() -> None:
    """Within quota, confirmed beyond it, refused for want of a confirmation: three answers of one plan."""
    known = facts(used=99)
    asked = [command(serial=f"s{n}", confirm_overage=n == 1) for n in range(3)]
    created, others, _ = decide_all(asked, known, LINK_BASE)
    assert count_by_plan(created, others, known.companies) == {
        (PLAN.id, "created"): 1,
        (PLAN.id, "created-with-overage"): 1,
        (PLAN.id, "overage-required"): 1,
    }
    assert count_refusals(others) == {"overage-required": 1}


def test_limits_that_end_in_a_refusal_are_told_apart() -> None:
    """A spent day passes by itself, a hard block only with another plan."""
    full, spent = facts(NO_OVERAGE, used=100), facts(writes=200)
    for known, code in ((full, "dpp-hard-block"), (spent, "daily-writes-spent")):
        created, others, _ = decide_all([command()], known, LINK_BASE)
        assert count_by_plan(created, others, known.companies) == {(PLAN.id, code): 1}
