"""Answers of `submit` are matched by place, whichever comes first, and let out in the order of the file."""

import random

from worker.domain.places import Place
from worker.tools.common.answering import RowAnswer
from worker.tools.submit.table import Row
from worker.tools.submit.window import RowWindow

TOPIC = "commands"
STRANGE = (f"{TOPIC}/0/{'9' * 5_000}", f"{TOPIC}/{'9' * 5_000}/5", f"{TOPIC}/0/05", f"{TOPIC}/0/\u0665", "x" * 100_000)
"""Causes that no worker writes."""


def _row(number: int) -> Row:
    return Row(number, number + 1, b"x", None)


class _Written:
    """What a window has let out."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str]] = []
        self.window = RowWindow(TOPIC, lambda row, answer: self.rows.append((row.number, answer.place)))

    def hear(self, place: str) -> bool:
        cause, answer = Place.parse(place), RowAnswer("created", place=place)
        return cause is not None and self.window.expects(cause) and self.window.hear(cause, answer)


def test_rows_are_let_out_in_order() -> None:
    """One that is answered waits for those before it, and so does one that was not sent."""
    written = _Written()
    slots = [written.window.add(_row(n)) for n in (1, 2)]
    written.window.add(_row(3), RowAnswer("invalid"))
    written.window.handed_over(0, 2)
    written.window.acknowledged(0, 10, slots)
    assert written.hear(f"{TOPIC}/0/11")
    assert (written.rows, len(written.window), written.window.kept_bytes) == ([], 3, 3)
    assert written.hear(f"{TOPIC}/0/10")
    assert [number for number, _ in written.rows] == [1, 2, 3]
    assert (len(written.window), written.window.kept_bytes) == (0, 0)


def test_results_of_others_are_not_ours() -> None:
    """Another place, another topic, no place at all; and one of ours that comes again."""
    written = _Written()
    slot = written.window.add(_row(1))
    written.window.handed_over(0, 1)
    written.window.acknowledged(0, 10, [slot])
    for place in (
        f"{TOPIC}/0/9",
        f"{TOPIC}/1/10",
        "others/0/10",
        "",
        "x/y/z",
        f"{TOPIC}/0/10/1",
        f"{TOPIC}/-1/10",
        *STRANGE,
    ):
        assert not written.hear(place)
    assert written.hear(f"{TOPIC}/0/10")
    assert not written.hear(f"{TOPIC}/0/10")
    assert written.rows == [(1, f"{TOPIC}/0/10")]


def test_a_result_may_come_before_the_acknowledgement() -> None:
    """It is kept until that is there; what turns out to be another's is not kept for longer."""
    written = _Written()
    slots = [written.window.add(_row(n)) for n in (1, 2)]
    written.window.handed_over(0, 2)
    for place in (f"{TOPIC}/0/4", *STRANGE, f"{TOPIC}/0/5", f"{TOPIC}/0/6"):  # the first is another's
        assert not written.hear(place)
    assert not written.hear("others/0/7")
    assert written.window.early == 3
    written.window.acknowledged(0, 5, slots)
    assert (written.window.early, written.rows) == (0, [(1, f"{TOPIC}/0/5"), (2, f"{TOPIC}/0/6")])


def test_a_result_behind_an_acknowledgement_may_come_before_its_own() -> None:
    """At the very offset where the first delivery ends, the second one begins."""
    written = _Written()
    first, second = (written.window.add(_row(n)) for n in (1, 2))
    written.window.handed_over(0, 2)
    assert not written.hear(f"{TOPIC}/0/6")
    written.window.acknowledged(0, 5, [first])
    assert written.window.early == 1
    written.window.acknowledged(0, 6, [second])
    assert written.hear(f"{TOPIC}/0/5")
    assert written.rows == [(1, f"{TOPIC}/0/5"), (2, f"{TOPIC}/0/6")]


def test_at_random() -> None:
    """Whatever comes first, on three partitions, with others' results between: each row once, in order, its own."""
    for seed in range(200):
        chance = random.Random(seed)
        written = _Written()
        ends = [0, 0, 0]
        expected: dict[int, str] = {}
        sent = []
        for number in range(1, 31):
            partition = chance.randrange(3)
            ends[partition] += chance.randrange(3)  # some places are others'
            slot = written.window.add(_row(number))
            written.window.handed_over(partition, 1)
            offset = ends[partition]
            expected[number] = f"{TOPIC}/{partition}/{offset}"
            sent.append((partition, offset, slot))
            ends[partition] += 1
        places = [f"{TOPIC}/{partition}/{offset}" for partition in range(3) for offset in range(ends[partition])]
        chance.shuffle(places)
        turns = [0] * len(places) + [1] * len(sent)
        chance.shuffle(turns)
        for is_acknowledged in turns:
            if is_acknowledged:
                partition, offset, slot = sent.pop(0)
                written.window.acknowledged(partition, offset, [slot])
            else:
                written.hear(places.pop())
        assert written.rows == list(expected.items()), seed
        assert (len(written.window), written.window.early) == (0, 0)
