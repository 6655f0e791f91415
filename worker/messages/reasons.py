"""Counts for operators: refusals and dead letters by code, and answers by plan."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from worker.domain.catalogue import Company
from worker.domain.outcomes import Created, Outcome, RefusedRequest
from worker.messages.rules import REFUSALS, ROWS

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
"""Every value of the header `dlq-reason`."""
PLAN_ANSWERS = ("created", "created-with-overage", *(row.code for row in ROWS.values() if row.is_by_plan))
"""The codes that are counted by plan."""


def count_refusals(others: Iterable[Outcome]) -> Counter[str]:
    """Refusals among these outcomes, by code."""
    return Counter(REFUSALS[type(outcome)].code for outcome in others if type(outcome) in REFUSALS)


def count_by_plan(
    created: Sequence[Created], others: Iterable[Outcome], companies: Mapping[str, Company]
) -> Counter[tuple[str, str]]:
    """Created passports, and refusals by a limit of the plan, by plan id and code."""
    by_company = Counter(
        (outcome.asked.company_id, ROWS[type(outcome)].code)
        for outcome in others
        if isinstance(outcome, RefusedRequest) and ROWS[type(outcome)].is_by_plan
    )
    by_company.update(
        (passport.company_id, "created" if passport.overage_price_cents is None else "created-with-overage")
        for passport in created
    )
    by_plan = Counter[tuple[str, str]]()
    for (company_id, code), count in by_company.items():  # a turn has many passports of few companies
        by_plan[companies[company_id].plan.id, code] += count
    return by_plan
