"""What a day counts by company, and what is still to be written of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from worker.domain import outcomes
from worker.domain.outcomes import Outcome
from worker.observability.day_log import MOST_COMPANIES, DayLog
from worker.observability.hooks import CommittedTransaction
from worker.store.activity import CompanyDay

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


class _Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now.timestamp()


class _Created:
    """Only its company counts."""

    def __init__(self, company_id: str) -> None:
        self.company_id = company_id


def _committed(created: str, *others: Outcome) -> CommittedTransaction:
    passports: list[Any] = [_Created(company) for company in created]
    return CommittedTransaction(1, passports, others, {}, 0.01)


def test_commands_count_by_company_and_unknown_ones_for_nobody() -> None:
    """A replay is accepted, and no refusal."""
    log = DayLog(_Clock())
    log.committed(_committed("aab", outcomes.Forbidden("a"), outcomes.Unauthorized(), outcomes.Forbidden("c")))
    log.committed(_committed("", outcomes.Replayed("c", "p", b"")))
    assert log.unwritten() == [
        CompanyDay(NOON.date(), "a", 3, 1, NOON),
        CompanyDay(NOON.date(), "b", 1, 0, NOON),
        CompanyDay(NOON.date(), "c", 2, 1, NOON),
    ]


def test_counts_are_written_again_only_when_they_have_grown() -> None:
    """Also while they were written; a day that is over goes once it is written."""
    clock = _Clock()
    log = DayLog(clock)
    log.committed(_committed("a", outcomes.Forbidden("b")))
    days = log.unwritten()
    log.committed(_committed("a"))
    log.note_written(days)
    assert [(day.company_id, day.answered) for day in log.unwritten()] == [("a", 2)]
    clock.now += timedelta(days=1)
    log.committed(_committed("", outcomes.Forbidden("a")))
    yesterday, today = log.unwritten()
    assert (yesterday.answered, today.answered, today.accepted_at) == (2, 1, None)
    log.note_written([yesterday, today])
    assert log.unwritten() == []
    log.committed(_committed("a"))
    assert [day.answered for day in log.unwritten()] == [2]


def test_more_companies_than_it_keeps_are_not_counted() -> None:
    """The others go on."""
    log = DayLog(_Clock())
    log.committed(_committed("", *(outcomes.Forbidden(f"{number:05}") for number in range(MOST_COMPANIES + 5))))
    log.committed(_committed("", outcomes.Forbidden("00000"), outcomes.Forbidden("new")))
    days = log.unwritten()
    assert len(days) == MOST_COMPANIES
    assert sum(day.refused for day in days) in range(MOST_COMPANIES, MOST_COMPANIES + 2)
