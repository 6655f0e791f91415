"""The buffer between the reader and a lane: bounded by all that a record holds, and in order."""

from collections.abc import Sequence

import pytest

from worker.messages.envelope import Header, Record
from worker.stream.inbox import FetchFailed, Inbox

MOST_BYTES = 1024 * 1024


def _record(offset: int, value: bytes = b"{}", headers: Sequence[Header] = ()) -> Record:
    return Record("t", 0, offset, 1000 + offset, None, value, headers)


def test_what_was_put_is_taken_in_order_with_the_offset_behind() -> None:
    """Behind the last record of a drained inbox stands the fetch offset, which passed markers."""
    inbox = Inbox(10, MOST_BYTES)
    inbox.restart(5)
    inbox.put([_record(5), _record(7), _record(8)], 12)
    assert (inbox.oldest_ms, len(inbox)) == (1005, 3)
    first, stop = inbox.take(2)
    assert ([record.offset for record in first], stop) == ([5, 7], 8)
    assert (inbox.take(2)[0][0].offset, inbox.take(2)) == (8, ([], 12))


@pytest.mark.parametrize(
    "large",
    [
        _record(0, b"x" * MOST_BYTES),
        _record(0, b"", [("h", b"x" * MOST_BYTES)]),
        _record(0, b"", [("", b"")] * (MOST_BYTES // 128)),
    ],
    ids=["value", "header", "tiny headers"],
)
def test_it_wants_no_more_than_its_bytes_until_they_are_answered(large: Record) -> None:
    """Headers count as values do, and as objects: a producer may put anything there. Any one record is taken.

    Seen to fail without `answered`: what was taken was free at once, so that a lane held three times its bytes.
    """
    inbox = Inbox(10, MOST_BYTES)
    assert inbox.wants_more
    inbox.put([large, _record(1)], 2)
    assert len(inbox.take(10)[0]) == 1
    assert not inbox.wants_more
    inbox.answered(1)
    assert inbox.wants_more


def test_a_batch_is_a_quarter_of_what_a_lane_may_hold() -> None:
    """So that while one batch is on its way out, the next is at work and another is fetched."""
    inbox = Inbox(100, MOST_BYTES)
    inbox.put([_record(at, b"x" * 30_000) for at in range(8)], 8)
    assert [len(inbox.take(10)[0]) for _ in range(2)] == [5, 3]
    inbox.put([_record(at, b"x" * 30_000) for at in range(8, 16)], 16)
    assert inbox.wants_more
    inbox.put([_record(at, b"x" * 30_000) for at in range(16, 24)], 24)
    assert not inbox.wants_more
    inbox.answered(5)
    assert not inbox.wants_more
    inbox.answered(8)
    assert inbox.wants_more


def test_what_was_put_back_still_counts_once() -> None:
    """Taking it again and again neither frees it nor holds it twice."""
    inbox = Inbox(10, MOST_BYTES)
    inbox.put([_record(0, b"x" * 700_000)], 1)
    for _ in range(3):
        inbox.put_back(inbox.take(1)[0])
    assert not inbox.wants_more
    inbox.take(1)
    inbox.answered(1)
    inbox.put([_record(1, b"x" * 300_000)], 2)
    assert inbox.wants_more


def test_it_wants_no_more_than_its_records() -> None:
    """A lane that does not come to take keeps its reader waiting."""
    inbox = Inbox(2, MOST_BYTES)
    inbox.put([_record(0), _record(1)], 2)
    assert not inbox.wants_more


async def test_what_was_put_back_is_taken_again() -> None:
    """A batch that was too large comes again, in smaller parts."""
    inbox = Inbox(10, MOST_BYTES)
    inbox.put([_record(0), _record(1), _record(2)], 5)
    taken, _ = inbox.take(10)
    inbox.put_back(taken)
    await inbox.changed()
    assert [record.offset for record in inbox.take(2)[0]] == [0, 1]
    assert inbox.take(2)[1] == 5


async def test_a_failure_is_raised_to_the_lane_until_it_starts_again() -> None:
    """What is fetched does not follow on what the lane has: it must open again."""
    inbox = Inbox(10, MOST_BYTES)
    inbox.fail("out of range")
    assert not inbox.wants_more
    with pytest.raises(FetchFailed, match="out of range"):
        await inbox.changed()
    inbox.restart(0)
    assert inbox.wants_more
