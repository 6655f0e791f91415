"""When a lane must not run, and that the reason says what to do, and what not."""

import pytest

from worker.store.port import Position, TopicIdentity
from worker.stream.lane_positions import LanePositions
from worker.stream.positions import Log, reason_to_halt

HERE = TopicIdentity("cluster-1", "topic-1")
APPLIED = Position(applied=100, emitted=90, ledger_from=50, topic=HERE)


@pytest.mark.parametrize(
    ("emitted", "first", "end"),
    [(100, 0, 100), (100, 100, 100), (50, 0, 100), (90, 20, 500)],
    ids=["in step", "log starts at A", "all of the ledger", "behind"],
)
@pytest.mark.parametrize("topic", [HERE, None], ids=["its topic", "a broker that does not tell"])
def test_positions_that_fit_together(emitted: int, first: int, end: int, topic: TopicIdentity | None) -> None:
    """Equal, or with answers to emit again that the ledger still has."""
    assert reason_to_halt(APPLIED, emitted, Log(topic, first, end), None) is None


def test_a_lane_that_does_not_know_its_topic_yet_goes_on() -> None:
    """As one from before topics had an identity; it learns it on opening."""
    assert reason_to_halt(Position(100, 90, 50), 100, Log(HERE, 0, 100), None) is None


@pytest.mark.parametrize(
    ("emitted", "first", "end", "advice"),
    [
        (49, 0, 200, "reset the group's offset of this partition to 50 or later, up to 100"),
        (100, 101, 200, "Publish commands 100 to 100 again"),
        (100, 0, 99, "Use a new topic name"),
        (90, 0, 95, "Use a new topic name"),
    ],
    ids=["below the ledger", "commands expired", "log cut off", "log cut off behind E"],
)
def test_positions_that_contradict_each_other(emitted: int, first: int, end: int, advice: str) -> None:
    """The lane halts, and whoever reads why knows the next step."""
    reason = reason_to_halt(APPLIED, emitted, Log(HERE, first, end), None)
    assert reason is not None
    assert advice in reason
    assert f"E={emitted}" in reason


@pytest.mark.parametrize(
    ("topic", "what"),
    [
        (TopicIdentity("cluster-1", "topic-2"), "the topic was created again: its id is topic-2"),
        (TopicIdentity("cluster-2", "topic-1"), "this is the cluster cluster-2"),
    ],
    ids=["topic", "cluster"],
)
@pytest.mark.parametrize("end", [20, 100, 5000], ids=["shorter", "as long", "longer"])
def test_another_topic_of_the_same_name_halts_the_lane(topic: TopicIdentity, what: str, end: int) -> None:
    """However long it is by now; never is it the answer to set offsets back."""
    reason = reason_to_halt(APPLIED, 100, Log(topic, 0, end), None)
    assert reason is not None
    assert what in reason
    assert "Use a new topic name (PASSPORT_TOPIC_COMMANDS)" in reason
    assert "reset" not in reason
    lane = LanePositions(APPLIED, 120, Log(topic, 0, end), is_new=False, lost_commits="run `lanes recover`")
    assert "recover" not in (lane.reason_to_halt() or ""), "E of another topic shows no lost commits"


def test_lost_commits_halt_a_lane_whose_own_positions_fit() -> None:
    """Another lane lost them."""
    lane = LanePositions(APPLIED, 100, Log(HERE, 0, 100), is_new=False, lost_commits="of another lane")
    assert lane.reason_to_halt() == "of another lane"


@pytest.mark.parametrize(
    ("newest_result", "told", "not_told"),
    [
        (99, "reset the group's offset of this partition back to 100", "never reset"),
        (100, "Never reset the offsets", "back to 100"),
        (None, "If somebody set the offset ahead by hand, stop the workers, reset the group's offset", "has a result"),
    ],
    ids=["skipped by hand", "restored database", "unknown"],
)
def test_kafka_ahead_of_postgres_has_two_causes(newest_result: int | None, told: str, not_told: str) -> None:
    """Setting the offset back is right after the one, and answers commands a second time after the other."""
    reason = reason_to_halt(APPLIED, 120, Log(HERE, 0, 200), newest_result)
    assert reason is not None
    assert told in reason
    assert not_told not in reason
    assert (newest_result != 99) == ("Never reset the offsets" in reason)
