"""A lane's books: what it is doing, what it holds, and where it stands. Nothing here needs a session or a server."""

import time

import pytest
from opentelemetry.trace import INVALID_SPAN

from tests.unit.builders import record
from worker.observability.telemetry import LANE_STATES, Telemetry
from worker.store.port import ExpectedPosition, FencingToken, LaneName, Registered
from worker.stream.inbox import Budget, Inbox
from worker.stream.lane import Batch, Lane, LaneState

NAME = LaneName("group", "commands", 3)
TOKEN = FencingToken(NAME, 1, 5)


def _lane(telemetry: Telemetry | None = None) -> Lane:
    return Lane(NAME, Inbox(10, Budget(1024 * 1024)), telemetry or Telemetry())


def _running(telemetry: Telemetry | None = None, applied: int = 0) -> Lane:
    """A lane that stands at an offset, and reads."""
    lane = _lane(telemetry)
    lane.registered(Registered(TOKEN, frozenset()))
    lane.place(applied, applied, applied)
    lane.run()
    return lane


def _fetch(lane: Lane, *offsets: int) -> None:
    lane.inbox.put([record(offset=offset) for offset in offsets], offsets[-1] + 1)


def _take(lane: Lane, most: int = 10) -> Batch:
    return lane.take(most, 1024 * 1024, INVALID_SPAN)


def _shown(telemetry: Telemetry) -> list[str]:
    """The states that the metrics show the lane in."""
    value = telemetry.registry.get_sample_value
    labels = {"topic": NAME.topic, "partition": str(NAME.partition)}
    return [state for state in LANE_STATES if value("passport_lane_state", {**labels, "state": state}) == 1]


# States


def test_a_new_lane_is_opening_and_shown_so() -> None:
    """Before any session has looked at it. Seen to fail while only a change was told: it was in no state at all."""
    telemetry = Telemetry()
    lane = _lane(telemetry)
    assert (lane.state, lane.is_at_work, lane.wants_records) == (LaneState.OPENING, False, False)
    assert _shown(telemetry) == ["opening"]


@pytest.mark.parametrize("state", [state for state in LaneState if state is not LaneState.CLOSED])
def test_a_lane_is_in_one_state_for_a_reason(state: LaneState) -> None:
    """It reads in two of them; the metrics show one."""
    telemetry = Telemetry()
    lane = _lane(telemetry)
    lane.stand(state, "why")
    assert (lane.state, lane.reason) == (state, "why")
    assert lane.is_at_work is lane.wants_records is (state in (LaneState.RUNNING, LaneState.WAITING))
    assert _shown(telemetry) == [state.value]


def test_a_lane_is_not_looked_at_for_as_long_as_it_stands_so() -> None:
    """The next reason ends that."""
    lane = _lane()
    lane.stand(LaneState.WAITING, "keys", 60.0)
    assert 50.0 < lane.look_at - time.monotonic() <= 60.0
    lane.stand(LaneState.RUNNING)
    assert lane.look_at <= time.monotonic()


def test_a_closed_lane_stays_closed_and_is_shown_nowhere() -> None:
    """Whatever a session that was cut off still says of it: the partition may have a new lane here."""
    telemetry = Telemetry()
    lane = _running(telemetry)
    lane.close()
    lane.stand(LaneState.RUNNING)
    lane.reopen("doubt")
    lane.lose("lost", 1.0)
    assert (lane.state, lane.reason, lane.is_at_work) == (LaneState.CLOSED, "closed", False)
    assert _shown(telemetry) == []


def test_a_lane_that_reopens_has_to_be_placed_again() -> None:
    """It keeps its hold, reads nothing, and is counted."""
    telemetry = Telemetry()
    lane = _running(telemetry)
    _fetch(lane, 0)
    lane.reopen("doubt", 0.2)
    assert (lane.state, lane.reason) == (LaneState.OPENING, "reopening after doubt")
    assert (lane.token, lane.is_placed, lane.is_behind, lane.has_something) == (TOKEN, False, False, False)
    assert lane.look_at > time.monotonic()
    labels = {"topic": NAME.topic, "partition": str(NAME.partition)}
    assert telemetry.registry.get_sample_value("passport_lane_reopenings_total", labels) == 1


def test_a_lost_lane_has_no_hold_and_is_asked_for_later() -> None:
    """Then it is ours again with another epoch, and others may have something open."""
    lane = _running()
    lane.lose("held for generation 7 by other", 30.0)
    assert (lane.state, lane.token, lane.is_at_work) == (LaneState.LOST, None, False)
    assert lane.look_at > time.monotonic() + 20.0
    later = FencingToken(NAME, 1, 9)
    lane.registered(Registered(later, frozenset({"other"})))
    assert (lane.token, lane.to_fence, lane.is_placed) == (later, frozenset({"other"}), False)


# Where it stands


@pytest.mark.parametrize(("applied", "emitted", "behind"), [(7, 7, False), (7, 3, True), (0, 0, False)])
def test_a_lane_is_behind_while_the_ledger_has_what_kafka_has_not(applied: int, emitted: int, behind: bool) -> None:
    """Only one whose place is known; and not while it works, when that is the normal course of a turn."""
    lane = _lane()
    lane.registered(Registered(TOKEN, frozenset()))
    assert not lane.is_behind
    lane.place(applied, emitted, 0)
    assert lane.is_behind is behind
    assert lane.expected == ExpectedPosition(TOKEN, applied, emitted)
    lane.emit(applied)
    assert not lane.is_behind
    lane.run()
    lane.apply(applied + 1)
    assert not lane.is_behind


def test_a_lane_that_runs_reads_from_where_it_stands() -> None:
    """What was fetched before is forgotten: it may not follow."""
    lane = _running(applied=4)
    _fetch(lane, 4, 5)
    lane.inbox.fail("out of range")
    lane.place(9, 9, 9)
    lane.run()
    assert (len(lane.inbox), lane.inbox.fetch_offset, lane.inbox.failure) == (0, 9, None)
    assert not lane.has_something
    assert not lane.busy


def test_there_is_something_where_only_markers_came() -> None:
    """The offset behind them has to be committed (guard B12); they are taken as a batch without records."""
    lane = _running(applied=4)
    lane.inbox.put([], 6)
    assert lane.has_something
    batch = _take(lane)
    assert (batch.records, batch.stop, batch.size) == ([], 6, 0)
    assert lane.has_something, "until it is applied"
    lane.put_back(batch)
    lane.apply(_take(lane).stop)
    assert not lane.has_something
    assert lane.busy
    lane.emit(6)
    assert not lane.busy


def test_a_lane_is_busy_until_all_that_was_fetched_is_out() -> None:
    """Whether it waits, is at work, or on its way."""
    lane = _running()
    assert not lane.busy
    _fetch(lane, 0, 1, 2)
    first = _take(lane, 2)
    assert (first.stop, first.lane) == (2, lane)
    lane.apply(first.stop)
    lane.emit(first.stop)
    assert (lane.expected, lane.busy, lane.has_something) == (ExpectedPosition(TOKEN, 2, 2), True, True)
    second = _take(lane, 2)
    lane.apply(second.stop)
    assert (lane.expected, lane.busy, lane.has_something) == (ExpectedPosition(TOKEN, 3, 2), True, False)
    lane.emit(second.stop)
    assert not lane.busy


def test_a_batch_that_is_put_back_is_taken_again() -> None:
    """With all that was in it, and the age of the oldest; its place is as it was."""
    lane = _running()
    _fetch(lane, 0, 1, 2)
    oldest_ms = lane.lag.oldest_ms
    lane.put_back(_take(lane))
    assert (len(lane.inbox), lane.lag.oldest_ms) == (3, oldest_ms)
    assert [one.offset for one in _take(lane, 1).records] == [0]


def test_a_lane_that_moves_has_made_progress() -> None:
    """By that `/livez` knows a lane that hangs."""
    lane = _running()
    _fetch(lane, 0)
    for move in (lane.apply, lane.emit):
        lane.progressed_at = 0.0
        move(1)
        assert time.monotonic() - lane.progressed_at < 5.0


@pytest.mark.parametrize("at_work", [False, True], ids=["waits", "at work"])
def test_the_age_of_the_oldest_command_goes_on_while_a_lane_reopens(at_work: bool) -> None:
    """Nobody reads meanwhile, and still it waits. Seen to fail where only a batch that was at work counted."""
    lane = _running()
    _fetch(lane, 0, 1)
    if at_work:
        _take(lane, 1)
    oldest_ms = lane.lag.oldest_ms
    assert oldest_ms is not None
    lane.reopen("doubt")
    assert lane.lag.oldest_ms == oldest_ms
    assert lane.lag_seconds() > 0
    lane.place(0, 0, 0)
    lane.run()
    assert lane.lag_seconds() == 0


@pytest.mark.parametrize("leave", ["reopen", "lose"])
def test_a_lane_that_leaves_work_gives_back_what_it_held(leave: str) -> None:
    """Others have its memory, for as long as it is halted or lost; all of it will be fetched again.

    Seen to fail while it kept its records: 16 MiB of one halted lane left all others a record at a time.
    """
    budget = Budget(1000)
    lane, other = (Lane(NAME, Inbox(10, budget), Telemetry()) for _ in range(2))
    lane.place(0, 0, 0)
    lane.run()
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
    lane.registered(Registered(TOKEN, frozenset()))
    lane.stand(state, "why", 60.0)
    lane.begin()
    assert (lane.token, lane.is_placed) == (None, False)
    assert lane.look_at <= time.monotonic()
    lane.wait("no leader", 60.0)
    assert lane.look_at > time.monotonic()
    halted = state is LaneState.HALTED
    assert (lane.state, lane.reason) == ((state, "why") if halted else (LaneState.OPENING, "no leader"))
