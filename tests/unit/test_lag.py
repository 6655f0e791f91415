"""A lane's backlog: the oldest command is the one whose result is not visible, wherever it is held up."""

from tests.unit.builders import record
from worker.batch.batch import Batch
from worker.store.port import ExpectedPosition, FencingToken, LaneName
from worker.stream.inbox import Budget, Inbox
from worker.stream.lag import Lag

EXPECTED = ExpectedPosition(FencingToken(LaneName("group", "commands", 3), 1, 5, "producer"), 0, 0)


def _backlog(*appended_ms: int) -> tuple[Inbox, Lag]:
    """Records from offset 0 on, which wait in the inbox."""
    inbox = Inbox(100, Budget(1024 * 1024))
    inbox.put([record(offset=at, timestamp_ms=moment) for at, moment in enumerate(appended_ms)], len(appended_ms))
    lag = Lag(inbox)
    lag.log_end = len(appended_ms)
    return inbox, lag


def _take(inbox: Inbox, max_records: int = 10) -> Batch:
    return inbox.take(EXPECTED, max_records, 1024 * 1024)


def test_a_command_waits_until_its_result_is_visible() -> None:
    """Also while it is stored and emitted, when the inbox no longer has it."""
    inbox, lag = _backlog(10, 20, 30)
    for _ in range(2):
        _take(inbox, 1)
    assert lag.oldest_ms == 10
    assert inbox.answered(1) == [[10]]
    assert lag.oldest_ms == 20
    assert inbox.answered(2) == [[20]]
    assert lag.oldest_ms == 30


def test_nothing_waits_in_an_empty_lane() -> None:
    """Neither records nor an age."""
    _, lag = _backlog()
    assert (lag.oldest_ms, lag.records()) == (None, 0)


def test_a_batch_that_is_put_back_waits_in_the_inbox() -> None:
    """It is not counted twice."""
    inbox, lag = _backlog(10, 20)
    inbox.put_back(_take(inbox))
    assert lag.oldest_ms == 10
    _take(inbox, 1)
    assert inbox.answered(1) == [[10]]
    assert lag.oldest_ms == 20


def test_a_batch_that_is_put_back_leaves_those_before_it() -> None:
    """The oldest command is still that of the batch whose results are on their way."""
    inbox, lag = _backlog(10, 20, 30)
    _take(inbox, 1)
    inbox.put_back(_take(inbox, 1))
    assert lag.oldest_ms == 10
    assert inbox.answered(1) == [[10]]
    assert lag.oldest_ms == 20


def test_a_batch_that_failed_waits_until_the_lane_has_opened_again() -> None:
    """The age goes on meanwhile; then the records are fetched anew."""
    inbox, lag = _backlog(10)
    _take(inbox)
    inbox.leave()
    assert lag.oldest_ms == 10
    inbox.restart(0)
    lag.restart(0)
    assert lag.oldest_ms is None


def test_a_survey_holds_until_the_lane_starts_afresh() -> None:
    """The broker knows more than a lane that reads nothing."""
    _, lag = _backlog(10)
    lag.survey(4, 9, 50)
    assert (lag.oldest_ms, lag.records()) == (50, 5)
    assert lag.is_known(4)
    assert not lag.is_known(5)
    lag.restart(0)
    assert (lag.oldest_ms, lag.records()) == (10, 9)
    assert not lag.is_known(4)


def test_a_lane_that_halts_is_as_far_as_the_survey_says() -> None:
    """The offset up to which it was applied says nothing about where the lane stands now."""
    _, lag = _backlog(10)
    lag.restart(7)
    assert lag.records() == 0
    lag.survey(4, 9, 50)
    assert lag.records() == 5


def test_where_a_survey_finds_no_command_nothing_waits() -> None:
    """A lane that stands at the end of the log is not behind."""
    _, lag = _backlog(10)
    lag.survey(9, 9, None)
    assert (lag.oldest_ms, lag.records()) == (None, 0)
    assert not lag.is_known(9)
