"""Stable codes of refusals and dead letters, and what plans had to do with answers: what operators count."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from worker.domain import outcomes
from worker.domain.catalogue import Company
from worker.domain.outcomes import Created, Outcome
from worker.messages.refusals import REFUSALS

DEAD_LETTER_REASONS = (
    "bom",
    "cloudevent-without-data",
    "duplicate-key",
    "empty-value",
    "header-name-not-utf8",
    "header-too-large",
    "not-an-object",
    "not-json",
    "not-utf8",
    "number-out-of-range",
    "processing-failed",
    "repeated-authorization",
    "too-deep",
    "tombstone",
    "too-many-headers",
    "value-too-large",
)
"""Everything that `dlq-reason` says."""

_BY_THE_PLAN = (outcomes.DailyWritesSpent, outcomes.OverageRequired, outcomes.HardBlock)


def count_refusals(others: Iterable[Outcome]) -> Counter[str]:
    """How many refusals of each code are among outcomes."""
    return Counter(REFUSALS[type(one)].code for one in others if type(one) in REFUSALS)


def count_by_plan(
    created: Sequence[Created], others: Iterable[Outcome], companies: Mapping[str, Company]
) -> Counter[tuple[str, str]]:
    """Answers that a plan's limits had a say in, by plan id and code."""
    answered: list[tuple[str, str]] = [
        (one.asked.company_id, REFUSALS[type(one)].code) for one in others if isinstance(one, _BY_THE_PLAN)
    ]
    answered += [(one.company_id, "created-with-overage") for one in created if one.overage_price_cents is not None]
    plans = Counter((companies[company_id].plan.id, code) for company_id, code in answered)
    # Nearly all records, so these are counted by company first.
    for company_id, count in Counter(one.company_id for one in created if one.overage_price_cents is None).items():
        plans[companies[company_id].plan.id, "created"] += count
    return plans
