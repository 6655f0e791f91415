"""Several watchers of one line: who is told, in which order, and what each makes of a turn."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from tests.batches import batch_of
from tests.told import Told
from tests.unit.builders import command
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.observability.counting import Counting
from worker.observability.hooks import Hooks, Stopwatch, Turn, together
from worker.observability.metrics import Metrics
from worker.observability.turn_log import TurnLog
from worker.store.port import LaneName

LANE = LaneName("group", "commands", 3)
TURN = Turn(
    [
        batch_of(
            LANE,
            6,
            *(Answer(at, 0, Kind.CREATED, "k", b"{}") for at in (4, 5)),
            start=4,
            commands=[command(), command()],
        ),
        batch_of(
            LaneName("group", "commands", 5),
            1,
            Answer(0, 0, Kind.REJECTED, "k", b'{"error":"Company not found"}'),
            commands=[command()],
        ),
    ],
    0.0123,
)


class _Watcher(Hooks):
    """Notes what it is told, by its name."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name, self._notes = name, notes

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._notes.append(f"{self._name} begins {name}")
        try:
            yield
        finally:
            self._notes.append(f"{self._name} ends {name}")

    def stopwatch(self) -> Stopwatch:
        return lambda step: self._notes.append(f"{self._name} {step}")

    def unassigned(self) -> None:
        self._notes.append(self._name)


def test_each_watcher_is_told_in_order() -> None:
    """And what takes a while ends in the reverse order, also where it fails."""
    notes: list[str] = []
    hooks = together(_Watcher("a", notes), Told(), _Watcher("b", notes))
    hooks.unassigned()
    hooks.stopwatch()("commit")
    with pytest.raises(KeyError), hooks.step("store"):
        raise KeyError
    assert notes == [
        "a",
        "b",
        "a commit",
        "b commit",
        "a begins store",
        "b begins store",
        "b ends store",
        "a ends store",
    ]


def test_who_is_alone_with_an_event_is_called_directly() -> None:
    """A line with one watcher costs what it costs; what nobody wants to know costs a call of nothing."""
    told = Told()
    hooks = together(told, Hooks())
    assert hooks.turn == told.turn
    assert type(hooks).visible is Hooks.visible
    hooks.visible([[1]])


def test_a_turn_is_counted_by_outcome_and_partition() -> None:
    """With the position behind each batch."""
    metrics = Metrics()
    Counting(metrics).turn(TURN)
    value = metrics.registry.get_sample_value
    places = [{"topic": "commands", "partition": partition} for partition in ("3", "5")]
    assert [value("passport_records_total", place) for place in places] == [2, 1]
    assert [value("passport_lane_position", place) for place in places] == [6, 1]
    assert [value("passport_outcomes_total", {"outcome": one}) for one in ("created", "rejected")] == [2, 1]
    assert value("passport_batch_records_count") == 2


def test_visible_results_are_counted_and_the_late_ones_apart() -> None:
    """By the append time of each command, and not by that of its batch."""
    metrics, now = Metrics(), time.time() * 1000
    value = metrics.registry.get_sample_value
    names = ("passport_answers_total", "passport_answers_late_total", "passport_batch_delay_seconds_count")
    assert [value(name) for name in names] == [0, 0, 0], "`increase()` cannot see a counter that appears at 1"
    ages = [[9.0, 5.1, 4.0, 0.0], [4.5], [-1.0, 3600.0]]
    Counting(metrics).visible([[int(now - age * 1000) for age in batch] for batch in ages])
    assert [value(name) for name in names] == [7, 3, 3]


def test_a_turn_is_one_line_of_the_log_and_one_a_refusal() -> None:
    """Which says what became of which offsets. It was one a lane and turn: a twelfth of the CPU with 48 of them."""
    with capture_logs() as logs:
        TurnLog().turn(TURN)
    turn, refusal = logs
    assert turn == {
        "event": "turn",
        "log_level": "info",
        "offsets": {"commands": {3: (4, 6), 5: (0, 1)}},
        "records": 3,
        "outcomes": {"created": 2, "rejected": 1},
        "store_ms": 12.3,
    }
    assert (refusal["event"], refusal["partition"], refusal["offset"]) == ("refusal", 5, 0)
