"""What a minute's activity counts, and what is still to be written down of it."""

from datetime import UTC, datetime
from typing import Any

from worker.domain import outcomes
from worker.domain.outcomes import Asked, Outcome
from worker.observability.hooks import CommittedTransaction
from worker.observability.minute_log import MinuteLog
from worker.store.activity import MOST_PAIRS, MinuteCounts

MINUTE = 1_700_000_040.0
"""The beginning of one."""


class _Clock:
    now = MINUTE

    def __call__(self) -> float:
        return self.now


def _committed(created: int, *others: Outcome) -> CommittedTransaction:
    passports: list[Any] = [None] * created  # only their number counts
    return CommittedTransaction(1, passports, others, {}, 0.01)


def _asked(company: str) -> Asked:
    return Asked(company, "p", "g", "s")


def test_passports_count_by_their_number_and_refusals_by_company_and_code() -> None:
    """Also those whose company the credentials did not say."""
    activity = MinuteLog(_Clock())
    activity.committed(
        _committed(3, outcomes.Forbidden("a"), outcomes.Unauthorized(), outcomes.Replayed("a", "p", b""))
    )
    activity.committed(_committed(1, outcomes.ProductNotFound(_asked("a")), outcomes.ProductNotFound(_asked("a"))))
    assert activity.unwritten() == [
        MinuteCounts(
            datetime.fromtimestamp(MINUTE, UTC),
            {"created": 4, "replayed": 1, "forbidden": 1, "unauthorized": 1, "product-not-found": 2},
            {("a", "forbidden"): 1, (None, "unauthorized"): 1, ("a", "product-not-found"): 2},
        )
    ]


def test_a_minute_is_written_again_only_when_it_has_grown() -> None:
    """An idle worker writes nothing, and a minute that is over goes once it is written down."""
    clock = _Clock()
    activity = MinuteLog(clock)
    activity.committed(_committed(1))
    activity.note_written(activity.unwritten())
    assert activity.unwritten() == []
    activity.committed(_committed(1))
    clock.now += 60
    activity.committed(_committed(5))
    first, second = activity.unwritten()
    assert (first.outcomes, second.outcomes) == ({"created": 2}, {"created": 5})
    activity.note_written([first, second])
    assert activity.unwritten() == []


def test_what_came_while_it_was_written_down_stays_unwritten() -> None:
    """What is told is what was asked for before."""
    activity = MinuteLog(_Clock())
    activity.committed(_committed(1))
    minutes = activity.unwritten()
    activity.committed(_committed(1))
    activity.note_written(minutes)
    assert [one.outcomes for one in activity.unwritten()] == [{"created": 2}]


def test_a_thousand_hostile_companies_take_no_more_room_than_the_most() -> None:
    """Beyond it refusals count by code alone; none is lost."""
    activity = MinuteLog(_Clock())
    activity.committed(_committed(0, *(outcomes.Forbidden(f"{number}") for number in range(1000))))
    (minute,) = activity.unwritten()
    assert len(minute.refusals) == MOST_PAIRS + 1
    assert minute.refusals[None, "forbidden"] == 1000 - MOST_PAIRS
    assert minute.outcomes == {"forbidden": 1000}


def test_an_hour_is_kept_while_postgres_is_away() -> None:
    """The newest, whatever the outage takes."""
    clock = _Clock()
    activity = MinuteLog(clock)
    for number in range(100):
        clock.now = MINUTE + 60 * number
        activity.committed(_committed(number))
    kept = [one.outcomes.get("created") for one in activity.unwritten()]
    assert kept == list(range(40, 100))


def test_a_clock_that_is_set_back_into_a_minute_that_was_written_takes_nothing_from_it() -> None:
    """A row is written over whole. Seen to fail: it kept only what came after the clock was set back."""
    clock = _Clock()
    activity = MinuteLog(clock)
    activity.committed(_committed(1000))
    clock.now = MINUTE + 60.1
    activity.note_written(activity.unwritten())
    clock.now = MINUTE + 59.8
    activity.committed(_committed(1))
    assert [one.outcomes for one in activity.unwritten()] == [{"created": 1001}]
