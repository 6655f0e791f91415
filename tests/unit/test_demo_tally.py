"""The demo's check of the promise: it must see a promise that was broken."""

import pytest

from worker.tools.demo.tally import Rate, Result, Sent, Tally, percentile


def _sent(offset: int, sender: str = "EuroBat GmbH") -> Sent:
    return Sent(f"commands/0/{offset}", sender, at=float(offset))


def _result(offset: int, column: str = "created", reason: str = "created", partition: int = 0) -> Result:
    return Result(f"commands/{partition}/{offset}", (column, 0), column, 201, reason, {})


def _tally(results: list[Result], commands: int = 2) -> Tally:
    tally = Tally()
    for offset in range(commands):
        tally.note_sent(_sent(offset))
    for result in results:
        tally.note_result(result, 5.0)
    return tally


@pytest.mark.parametrize(
    ("results", "breaches"),
    [
        ([_result(0), _result(1)], []),
        ([_result(0)], ["1 without a result, such as commands/0/1"]),
        ([_result(0), _result(1), _result(1)], ["1 answered twice, such as commands/0/1"]),
        ([_result(1), _result(0)], ["1 answered out of order, such as commands/0/0"]),
        ([_result(1), _result(0, "rejected", "invalid")], []),
        (
            [_result(0), _result(1, "rejected", "unreadable")],
            ["1 without exactly one dead-letter copy, such as commands/0/1"],
        ),
        ([_result(0), _result(1), _result(7), _result(7)], []),
        ([_result(0), _result(1), _result(0, partition=1)], []),
    ],
    ids=["kept", "missing", "twice", "disordered", "other topic", "no copy", "of others", "other partition"],
)
def test_breaches_are_named(results: list[Result], breaches: list[str]) -> None:
    """Missing, double, disordered and badly copied answers are told, with an example; records of others are not."""
    assert _tally(results).breaches() == breaches


def test_copy_of_what_was_readable_is_a_breach() -> None:
    """Only what could not be read goes to the dead letters, and once."""
    tally = _tally([_result(0), _result(1, "rejected", "unreadable")])
    for offset in (0, 1, 1):
        tally.note_dead_letter(f"commands/0/{offset}")
    assert tally.breaches() == ["2 without exactly one dead-letter copy, such as commands/0/0"]
    assert tally.dead_letters() == 3


def test_result_may_be_read_before_the_broker_acknowledges_its_command() -> None:
    """Consumers can be faster than the producer's own acknowledgement."""
    tally = Tally()
    assert tally.note_result(_result(3), 3.5) is None
    assert tally.note_sent(_sent(3)) == _result(3)
    assert tally.breaches() == []
    assert tally.latencies == [0.5]
    assert tally.senders["EuroBat GmbH"] == {"in": 1, "created": 1}


def test_result_that_is_early_and_double_is_seen() -> None:
    """Both copies may come before the acknowledgement."""
    tally = Tally()
    tally.note_result(_result(3), 3.5)
    tally.note_result(_result(3), 3.5)
    tally.note_sent(_sent(3))
    assert tally.breaches() == ["1 answered twice, such as commands/0/3"]


def test_rate_forgets_what_is_older_than_its_window() -> None:
    """The rate is that of the last two seconds."""
    rate = Rate()
    for now in (0.0, 1.0, 2.5, 3.0):
        rate.note(now)
    assert rate.at(3.0) == 1.5
    assert rate.at(9.0) == 0.0


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([], 0.5, 0.0), ([3.0, 1.0, 2.0], 0.5, 2.0), ([1.0], 0.95, 1.0)]
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    """The nearest rank, whatever the order of the values."""
    assert percentile(values, share) == expected
