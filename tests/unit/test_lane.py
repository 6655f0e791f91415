"""A lane's books: what it is doing, what it holds, and where it stands. Nothing here needs a session or a server."""

import time

import pytest

from tests.told import Told
from tests.unit.builders import record
from worker.batch.batch import Batch
from worker.store.port import ExpectedPosition, FencingToken, LaneName
from worker.stream.inbox import Budget, Inbox
from worker.stream.lane import Lane, LaneState
from worker.stream.open_lane import OpenLane

NAME = LaneName("group", "commands", 3)
TOKEN = FencingToken(NAME, 1, 5, "producer")


def _lane(told: Told | None = None) -> Lane:
    return Lane(NAME, Inbox(10, Budget(1024 * 1024)), told or Told())


def _running(told: Told | None = None, applied: int = 0) -> OpenLane:
    """A lane that stands at an offset, and reads."""
    one = OpenLane(_lane(told), TOKEN, (applied, applied, applied), 0, told or Told())
    one.run()
    return one


def _fetch(lane: Lane, *offsets: int) -> None:
    lane.inbox.put([record(offset=offset) for offset in offsets], offsets[-1] + 1)


def _take(one: OpenLane, max_records: int = 10) -> Batch:
    return one.lane.inbox.take(one.expected, max_records, 1024 * 1024)


# States


def test_a_new_lane_is_opening_and_shown_so() -> None:
    """Before any session has looked at it. Seen to fail while only a change was told: it was in no state at all."""
    told = Told()
    lane = _lane(told)
    assert (lane.state, lane.is_at_work, lane.wants_records) == (LaneState.OPENING, False, False)
    assert told.states == {3: "opening"}


@pytest.mark.parametrize("state", [state for state in LaneState if state is not LaneState.CLOSED])
def test_a_lane_is_in_one_state_for_a_reason(state: LaneState) -> None:
    """It reads in two of them; whoever watches is told of it."""
    told = Told()
    lane = _lane(told)
    lane.set_state(state, "why")
    assert (lane.state, lane.reason) == (state, "why")
    assert lane.is_at_work is lane.wants_records is (state in (LaneState.RUNNING, LaneState.WAITING))
    assert told.states == {3: state.value}


def test_a_lane_is_not_looked_at_for_as_long_as_it_stands_so() -> None:
    """The next reason ends that."""
    lane = _lane()
    lane.set_state(LaneState.WAITING, "keys", 60.0)
    assert 50.0 < lane.due_at - time.monotonic() <= 60.0
    lane.set_state(LaneState.RUNNING)
    assert lane.due_at <= time.monotonic()


def test_a_closed_lane_stays_closed_and_is_shown_nowhere() -> None:
    """Whatever a session that was cut off still says of it: the partition may have a new lane here."""
    told = Told()
    lane = _running(told).lane
    lane.close()
    lane.set_state(LaneState.RUNNING)
    lane.reopen("doubt")
    lane.lose("lost", 1.0)
    assert (lane.state, lane.reason, lane.is_at_work) == (LaneState.CLOSED, "closed", False)
    assert told.states == {}


def test_a_lane_that_reopens_reads_nothing() -> None:
    """And is counted."""
    told = Told()
    one = _running(told)
    _fetch(one.lane, 0)
    one.lane.reopen("doubt", 0.2)
    assert (one.lane.state, one.lane.reason) == (LaneState.OPENING, "reopening: doubt")
    assert (one.lane.wants_records, one.has_something, told.reopened) == (False, False, [3])
    assert one.lane.due_at > time.monotonic()


def test_a_lost_lane_is_asked_for_later() -> None:
    """Somebody else may have something open for it until then."""
    lane = _running().lane
    lane.lose("held for generation 7 by other", 30.0)
    assert (lane.state, lane.is_at_work) == (LaneState.LOST, False)
    assert lane.due_at > time.monotonic() + 20.0


# Where it stands


@pytest.mark.parametrize(("applied", "emitted", "behind"), [(7, 7, False), (7, 3, True), (0, 0, False)])
def test_a_lane_is_behind_while_the_ledger_has_what_kafka_has_not(applied: int, emitted: int, behind: bool) -> None:
    """Until its results are out."""
    one = OpenLane(_lane(), TOKEN, (applied, emitted, 0), 0, Told())
    assert one.is_behind is behind
    assert one.expected == ExpectedPosition(TOKEN, applied, emitted)
    one.emit(applied)
    assert not one.is_behind


def test_a_lane_that_runs_reads_from_where_it_stands() -> None:
    """What was fetched before is forgotten: it may not follow."""
    lane = _running(applied=4).lane
    _fetch(lane, 4, 5)
    lane.inbox.fail("out of range")
    one = OpenLane(lane, TOKEN, (9, 9, 9), 0, Told())
    one.run()
    assert (len(one.lane.inbox), one.lane.inbox.fetch_offset, one.lane.inbox.failure) == (0, 9, None)
    assert not one.has_something
    assert not one.lane.inbox.is_busy


def test_there_is_something_where_only_markers_came() -> None:
    """The offset behind them has to be committed (guard B12); they are taken as a batch without records."""
    one = _running(applied=4)
    one.lane.inbox.put([], 6)
    assert one.has_something
    batch = _take(one)
    assert (batch.records, batch.stop, batch.size) == ([], 6, 0)
    assert one.has_something, "until it is applied"
    one.lane.inbox.put_back(batch)
    one.apply(_take(one).stop)
    assert not one.has_something
    assert one.lane.inbox.is_busy
    one.emit(6)
    assert not one.lane.inbox.is_busy


def test_a_lane_is_busy_until_all_that_was_fetched_is_out() -> None:
    """Whether it waits, is at work, or on its way."""
    one = _running()
    assert not one.lane.inbox.is_busy
    _fetch(one.lane, 0, 1, 2)
    first = _take(one, 2)
    assert (first.start, first.stop, first.lane) == (0, 2, NAME)
    one.apply(first.stop)
    one.emit(first.stop)
    assert (one.expected, one.lane.inbox.is_busy, one.has_something) == (ExpectedPosition(TOKEN, 2, 2), True, True)
    second = _take(one, 2)
    one.apply(second.stop)
    assert (one.expected, one.lane.inbox.is_busy, one.has_something) == (ExpectedPosition(TOKEN, 3, 2), True, False)
    one.emit(second.stop)
    assert not one.lane.inbox.is_busy


def test_a_batch_that_is_put_back_is_taken_again() -> None:
    """With all that was in it, and the age of the oldest; its place is as it was."""
    one = _running()
    _fetch(one.lane, 0, 1, 2)
    oldest_ms = one.lane.lag.oldest_ms
    one.lane.inbox.put_back(_take(one))
    assert (len(one.lane.inbox), one.lane.lag.oldest_ms) == (3, oldest_ms)
    assert [one.offset for one in _take(one, 1).records] == [0]


def test_a_lane_that_moves_has_made_progress() -> None:
    """By that `/livez` knows a lane that hangs."""
    one = _running()
    _fetch(one.lane, 0)
    for move in (one.apply, one.emit):
        one.lane.progressed_at = 0.0
        move(1)
        assert time.monotonic() - one.lane.progressed_at < 5.0


@pytest.mark.parametrize("at_work", [False, True], ids=["waits", "at work"])
def test_the_age_of_the_oldest_command_goes_on_while_a_lane_reopens(at_work: bool) -> None:
    """Nobody reads meanwhile, and still it waits. Seen to fail where only a batch that was at work counted."""
    one = _running()
    _fetch(one.lane, 0, 1)
    if at_work:
        _take(one, 1)
    oldest_ms = one.lane.lag.oldest_ms
    assert oldest_ms is not None
    one.lane.reopen("doubt")
    assert one.lane.lag.oldest_ms == oldest_ms
    assert one.lane.lag.seconds() > 0
    one.run()
    assert one.lane.lag.seconds() == 0


@pytest.mark.parametrize("leave", ["reopen", "lose"])
def test_a_lane_that_leaves_work_gives_back_what_it_held(leave: str) -> None:
    """Others have its memory, for as long as it is halted or lost; all of it will be fetched again.

    Seen to fail while it kept its records: 16 MiB of one halted lane left all others a record at a time.
    """
    budget = Budget(1000)
    lane, other = (Lane(NAME, Inbox(10, budget), Told()) for _ in range(2))
    lane.run(0)
    _fetch(lane, 0, 1, 2)
    _fetch(other, 0)
    assert not other.inbox.wants_more
    lane.reopen("doubt") if leave == "reopen" else lane.lose("lost", 1.0)
    assert len(lane.inbox) == 0
    assert other.inbox.wants_more


@pytest.mark.parametrize("state", [LaneState.HALTED, LaneState.OPENING, LaneState.LOST])
def test_a_halted_lane_stays_halted_while_a_session_begins(state: LaneState) -> None:
    """Whatever ended the one before: nobody is to see it go and come. It is asked for anew all the same."""
    lane = _lane()
    lane.set_state(state, "why", 60.0)
    lane.wait("opening")
    assert lane.due_at <= time.monotonic()
    lane.wait("no leader", 60.0)
    assert lane.due_at > time.monotonic()
    halted = state is LaneState.HALTED
    assert (lane.state, lane.reason) == ((state, "why") if halted else (LaneState.OPENING, "no leader"))
