"""The buffer between the reader and a lane: bounded by all that a record holds, and in order."""

import pytest

from worker.messages.envelope import Header, Record
from worker.stream.inbox import INBOX_BYTES, FetchFailed, Inbox


def _record(offset: int, value: bytes = b"{}", headers: list[Header] | None = None) -> Record:
    return Record("t", 0, offset, 1000 + offset, None, value, headers or [])


def test_what_was_put_is_taken_in_order_with_the_offset_behind() -> None:
    """Behind the last record of a drained inbox stands the fetch offset, which passed markers."""
    inbox = Inbox(10)
    inbox.restart(5)
    inbox.put([_record(5), _record(7), _record(8)], 12)
    assert (inbox.oldest_ms, len(inbox)) == (1005, 3)
    first, stop = inbox.take(2)
    assert ([record.offset for record in first], stop) == ([5, 7], 8)
    assert (inbox.take(2)[0][0].offset, inbox.take(2)) == (8, ([], 12))


@pytest.mark.parametrize(
    "large", [_record(0, b"x" * INBOX_BYTES), _record(0, b"", [("h", b"x" * INBOX_BYTES)])], ids=["value", "header"]
)
def test_it_wants_no_more_than_its_bytes(large: Record) -> None:
    """Headers count as values do: a producer may put anything there."""
    inbox = Inbox(10)
    inbox.put([large, _record(1)], 2)
    assert not inbox.wants_more
    assert len(inbox.take(10)[0]) == 1
    assert inbox.wants_more


def test_it_wants_no_more_than_its_records() -> None:
    """A lane that does not come to take keeps its reader waiting."""
    inbox = Inbox(2)
    inbox.put([_record(0), _record(1)], 2)
    assert not inbox.wants_more


async def test_what_was_put_back_is_taken_again() -> None:
    """A batch that was too large comes again, in smaller parts."""
    inbox = Inbox(10)
    inbox.put([_record(0), _record(1), _record(2)], 5)
    taken, _ = inbox.take(10)
    inbox.put_back(taken)
    await inbox.changed()
    assert [record.offset for record in inbox.take(2)[0]] == [0, 1]
    assert inbox.take(2)[1] == 5


async def test_a_failure_is_raised_to_the_lane_until_it_starts_again() -> None:
    """What is fetched does not follow on what the lane has: it must open again."""
    inbox = Inbox(10)
    inbox.fail("out of range")
    assert not inbox.wants_more
    with pytest.raises(FetchFailed, match="out of range"):
        await inbox.changed()
    inbox.restart(0)
    assert inbox.wants_more
