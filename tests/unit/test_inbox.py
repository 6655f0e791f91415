"""The buffer between the reader and a lane: bounded by all that a record holds, and in order."""

import asyncio
from collections.abc import Sequence

import pytest

from worker.batch.batch import Batch
from worker.messages.envelope import Limits, Record, open_envelope
from worker.messages.events import Header
from worker.store.port import ExpectedPosition, FencingToken, LaneName
from worker.stream.inbox import Budget, Inbox

MOST_BYTES = 1024 * 1024
EXPECTED = ExpectedPosition(FencingToken(LaneName("group", "t", 0), 1, 5, "producer"), 0, 0)


def _record(offset: int, value: bytes = b"{}", headers: Sequence[Header] = ()) -> Record:
    return Record("t", 0, offset, 1000 + offset, None, value, headers)


def _inbox(records_wanted: int = 10, budget: Budget | None = None) -> Inbox:
    return Inbox(records_wanted, budget or Budget(MOST_BYTES))


def _take(inbox: Inbox, max_records: int = 10, max_bytes: int = MOST_BYTES) -> Batch:
    return inbox.take(EXPECTED, max_records, max_bytes)


def _offsets(batch: Batch) -> list[int]:
    return [record.offset for record in batch.records]


def _opened(batch: Batch) -> list[int]:
    return [envelope.command.source.offset for envelope in batch.envelopes]


def _open_ahead(inbox: Inbox, limit: int) -> int:
    """How many envelopes were opened."""
    opened = 0
    while inbox.open_ahead(lambda record: open_envelope(record, Limits()), limit):
        opened += 1
    return opened


LARGE = _record(0, b"x" * MOST_BYTES)


def test_what_was_put_is_taken_in_order_with_the_offset_behind() -> None:
    """Behind the last record of a drained inbox stands the fetch offset, which passed markers."""
    inbox = _inbox()
    inbox.restart(5)
    inbox.put([_record(5), _record(7), _record(8)], 12)
    assert (inbox.oldest_ms, len(inbox)) == (1005, 3)
    first = _take(inbox, 2)
    assert (_offsets(first), first.stop) == ([5, 7], 8)
    assert _take(inbox, 2).records[0].offset == 8
    batch = _take(inbox, 2)
    assert (batch.records, batch.stop, batch.size, batch.skipped) == ([], 12, 0, (range(6, 7), range(9, 12)))


def test_where_only_markers_came_the_offset_behind_them_is_taken() -> None:
    """The group's offset has to pass them, or the lag never ends (guard B12)."""
    inbox = _inbox()
    inbox.put([], 3)
    assert inbox.changed.is_set()
    batch = _take(inbox, 10)
    assert (batch.records, batch.stop, batch.size, batch.skipped) == ([], 3, 0, (range(3),))


@pytest.mark.parametrize(
    "large",
    [
        LARGE,
        _record(0, b"", [("h", b"x" * MOST_BYTES)]),
        _record(0, b"", [("h" * MOST_BYTES, b"")]),
        _record(0, b"", [("h" * (MOST_BYTES // 4) + "\N{GRINNING FACE}", b"")]),
        _record(0, b"", [("", b"")] * (MOST_BYTES // 128)),
    ],
    ids=["value", "header", "name", "name of wide characters", "tiny headers"],
)
def test_it_wants_no_more_than_its_bytes_until_they_are_answered(large: Record) -> None:
    """Headers count as values do, and as objects: a producer may put anything there. Any one record is taken.

    Seen to fail without `answered`: what was taken was free at once, so that a lane held three times its bytes.
    Seen to fail before, with names that were not counted: a lane held 2,000 records of a megabyte.
    """
    inbox = _inbox()
    assert inbox.wants_more
    inbox.put([large, _record(1)], 2)
    assert len(_take(inbox, 10).records) == 1
    assert not inbox.wants_more
    inbox.answered(1)
    assert inbox.wants_more


def test_a_turn_takes_no_more_once_it_has_its_bytes() -> None:
    """And tells how many they are, so that the other lanes of the turn get the rest."""
    inbox = _inbox(100)
    inbox.put([_record(at, b"x" * 30_000) for at in range(8)], 8)
    first = _take(inbox, 10, 250_000)
    assert len(first.records) == 5
    assert 250_000 <= first.size < 350_000
    assert len(_take(inbox, 10, 250_000).records) == 3


def test_what_was_taken_is_free_when_all_of_it_is_answered() -> None:
    """Turn by turn; so that while one is on its way out, the next is at work and another is fetched."""
    inbox = _inbox(100)
    inbox.put([_record(at, b"x" * 30_000) for at in range(16)], 16)
    assert _offsets(_take(inbox, 5)) + _offsets(_take(inbox, 3)) == [*range(8)]
    assert inbox.wants_more
    inbox.put([_record(at, b"x" * 30_000) for at in range(16, 24)], 24)
    assert not inbox.wants_more
    inbox.answered(4)
    assert not inbox.wants_more
    inbox.answered(5)
    assert not inbox.wants_more
    inbox.answered(8)
    assert inbox.wants_more


def test_what_was_put_back_still_counts_once() -> None:
    """Taking it again and again neither frees it nor holds it twice."""
    inbox = _inbox()
    inbox.put([_record(0, b"x" * 700_000)], 1)
    for _ in range(3):
        inbox.put_back(_take(inbox, 1))
    assert not inbox.wants_more
    _take(inbox, 1)
    inbox.answered(1)
    inbox.put([_record(1, b"x" * 300_000)], 2)
    assert inbox.wants_more


def test_it_wants_no_more_than_its_records() -> None:
    """A lane that does not come to take keeps its reader waiting."""
    inbox = _inbox(2)
    inbox.put([_record(0), _record(1)], 2)
    assert not inbox.wants_more


def test_what_was_put_back_is_taken_again() -> None:
    """A batch that was too large comes again, in smaller parts."""
    inbox = _inbox()
    inbox.put([_record(0), _record(1), _record(2)], 5)
    taken = _take(inbox, 10)
    inbox.changed.clear()
    inbox.put_back(taken)
    assert inbox.changed.is_set()
    assert _offsets(_take(inbox, 2)) == [0, 1]
    assert _take(inbox, 2).stop == 5


def test_a_failure_is_told_until_the_lane_starts_again() -> None:
    """What is fetched does not follow on what the lane has: it must open again."""
    inbox = _inbox()
    inbox.fail("out of range")
    assert inbox.changed.is_set()
    assert not inbox.wants_more
    assert inbox.failure == "out of range"
    inbox.restart(0)
    assert inbox.failure is None
    assert inbox.wants_more


def test_a_fetch_that_brought_nothing_is_no_news() -> None:
    """A session that looked at every poll of an idle lane would never rest."""
    inbox = _inbox()
    inbox.restart(3)
    inbox.put([], 3)
    assert not inbox.changed.is_set()


def test_all_lanes_of_a_session_share_their_news() -> None:
    """It waits for any of them."""
    news, inboxes = asyncio.Event(), [_inbox(), _inbox()]
    for inbox in inboxes:
        inbox.changed = news
    for inbox in inboxes:
        news.clear()
        inbox.put([_record(0)], 1)
        assert news.is_set()


# The budget


def test_a_budget_that_is_spent_stops_all_but_those_that_hold_nothing() -> None:
    """No lane waits for another to give back. Seen to fail where only the lane's own bytes counted."""
    budget = Budget(MOST_BYTES, inboxes=MOST_BYTES)  # a share is nothing
    greedy, modest, empty = (_inbox(budget=budget) for _ in range(3))
    modest.put([_record(0)], 1)
    assert greedy.wants_more
    greedy.put([LARGE], 1)
    assert budget.is_spent
    assert [one.wants_more for one in (greedy, modest, empty)] == [False, False, True]
    assert _offsets(_take(greedy, 10, 10 * MOST_BYTES)) == [0]
    greedy.answered(1)
    assert [one.wants_more for one in (greedy, modest, empty)] == [True] * 3


def test_who_holds_less_than_a_share_may_take_though_the_budget_is_spent() -> None:
    """Seen to fail where it had to hold nothing: beside a flood, a calm lane waited for its results."""
    budget = Budget(MOST_BYTES, inboxes=2)
    greedy, calm = (_inbox(budget=budget) for _ in range(2))
    greedy.put([LARGE], 1)
    calm.put([_record(0)], 1)
    assert [one.wants_more for one in (greedy, calm)] == [False, True]
    calm.put([_record(1, b"x" * (MOST_BYTES // 16))], 2)
    assert not calm.wants_more, "an eighth of all bytes is its share, and a record takes twice its value"


def test_a_lane_that_starts_again_gives_back_what_it_held() -> None:
    """Whether it waits or is at work; nothing that is answered later counts twice."""
    budget = Budget(MOST_BYTES)
    inbox = _inbox(budget=budget)
    inbox.put([LARGE, _record(1)], 2)
    _take(inbox, 1)
    inbox.restart(0)
    assert (budget.used, len(inbox), inbox.fetch_offset) == (0, 0, 0)
    inbox.answered(2)
    assert budget.used == 0


def test_a_lane_that_leaves_work_holds_nothing_but_the_age_of_its_oldest_command() -> None:
    """Others have its memory until it works again. A transaction in flight may still answer its last batch."""
    budget = Budget(MOST_BYTES)
    inbox = _inbox(budget=budget)
    inbox.put([_record(0), _record(1), _record(2), _record(3)], 4)
    _take(inbox, 1)
    _take(inbox, 1)
    inbox.leave()
    assert (budget.used, len(inbox), inbox.fetch_offset, inbox.oldest_ms) == (0, 0, 4, 1000)
    assert inbox.answered(2) == [[1000], [1001]]
    assert (budget.used, inbox.oldest_ms) == (0, 1002)
    inbox.restart(2)
    assert inbox.oldest_ms is None


def test_a_budget_counts_every_byte_once() -> None:
    """Through any sequence of fetching, taking, putting back and answering, it is what the lanes hold."""
    budget = Budget(MOST_BYTES)
    inboxes = [_inbox(budget=budget) for _ in range(3)]
    for number, inbox in enumerate(inboxes):
        inbox.put([_record(at, b"x" * 1000 * number) for at in range(5)], 5)
    held = budget.used
    inboxes[0].put_back(_take(inboxes[0], 3))
    sizes = [_take(inbox, 4).size for inbox in inboxes]
    assert budget.used == held
    for inbox in inboxes:
        inbox.answered(4)
    assert budget.used == held - sum(sizes)
    for inbox in inboxes:
        _take(inbox, 4)
        inbox.answered(5)
    assert budget.used == 0


def test_a_restart_is_counted_wherever_it_leads() -> None:
    """A reader that awaited something compares the count: the offset may be the same before and after."""
    inbox = _inbox()
    inbox.put([_record(0)], 1)
    before = inbox.restarts
    inbox.restart(0)
    assert inbox.restarts != before


def test_offsets_without_a_record_are_told_until_they_are_answered() -> None:
    """In pieces where a fetch ended between markers, so that a turn can tell a marker from a record that was lost."""
    inbox = _inbox()
    inbox.restart(4)
    inbox.put([_record(5)], 7)
    inbox.put([_record(8), _record(9)], 10)
    first = _take(inbox, 1)
    assert (first.stop, first.skipped) == (6, (range(4, 5),))
    inbox.answered(6)
    second = _take(inbox, 10)
    assert (second.stop, second.skipped) == (10, (range(6, 7), range(7, 8)))
    inbox.put_back(second)
    again = _take(inbox, 10)
    assert (again.records, again.stop, again.size, again.skipped) == (
        second.records,
        second.stop,
        second.size,
        second.skipped,
    )
    inbox.answered(10)
    inbox.put([_record(10)], 11)
    assert _take(inbox, 10).skipped == ()


def test_envelopes_are_opened_ahead_up_to_a_limit_and_taken_with_their_records() -> None:
    """The first of them, whatever was opened or taken before; a turn may take fewer, or more."""
    inbox = _inbox()
    assert _open_ahead(inbox, 5) == 0
    inbox.put([_record(offset) for offset in range(6)], 6)
    assert (_open_ahead(inbox, 3), _open_ahead(inbox, 3), _open_ahead(inbox, 4)) == (3, 0, 1)
    first, second = _take(inbox, 1), _take(inbox, 4)
    assert (_offsets(first), _opened(first)) == ([0], [0])
    assert (_offsets(second), _opened(second)) == ([1, 2, 3, 4], [1, 2, 3])
    assert _open_ahead(inbox, 10) == 1
    assert _opened(_take(inbox)) == [5]


def test_envelopes_of_records_that_are_not_next_are_forgotten() -> None:
    """After a restart another record may have the offset, and what was put back comes before those that are open."""
    inbox = _inbox()
    inbox.put([_record(0), _record(1)], 2)
    assert _open_ahead(inbox, 2) == 2
    inbox.put_back(_take(inbox, 1))
    assert _opened(_take(inbox)) == []
    inbox.restart(0)
    inbox.put([_record(0), _record(1)], 2)
    assert _open_ahead(inbox, 2) == 2
    inbox.restart(0)
    inbox.put([_record(0)], 1)
    assert _opened(_take(inbox)) == []
