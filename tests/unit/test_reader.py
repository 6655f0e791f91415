"""The reader hands a lane only what was fetched for it as it is now, whatever happened during the poll (guard B21)."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from aiokafka.structs import TopicPartition

from tests.told import Told
from worker.messages.envelope import Record
from worker.settings import Settings
from worker.store.port import ExpectedPosition, FencingToken, LaneName
from worker.stream.inbox import Budget, Inbox
from worker.stream.lane import Lane
from worker.stream.reader import Reader

PLACE = TopicPartition("commands", 0)
EXPECTED = ExpectedPosition(FencingToken(LaneName("group", "commands", 0), 1, 5, "producer"), 0, 0)


class _Consumer:
    """One partition whose records were fetched; `meanwhile` runs while a poll is under way."""

    def __init__(self, end: int) -> None:
        self._end, self._at = end, 0
        self._fetcher = self
        self._records = {PLACE: object()}
        self._coordinator = self
        self.meanwhile: Callable[[], None] | None = None

    async def position(self, place: TopicPartition) -> int:
        return self._at

    def check_errors(self) -> None:
        """Of the coordinator: there are none."""

    async def getmany(self, *places: TopicPartition, max_records: int | None = None) -> Any:
        offsets = range(self._at, self._end)[:max_records]
        self._at = offsets.stop
        self._happen()
        return {PLACE: [_fetched(offset) for offset in offsets]} if offsets else {}

    def _happen(self) -> None:
        happening, self.meanwhile = self.meanwhile, None
        if happening is not None:
            happening()

    def seek(self, place: TopicPartition, offset: int) -> None:
        self._at = offset

    def last_stable_offset(self, place: TopicPartition) -> int:
        return self._end


class _Watch:
    """A topic whose identity is asked for while records wait; `answering` runs until the answer is there."""

    def __init__(self) -> None:
        self.answering: Callable[[], Awaitable[bool]] | None = None

    async def may_use(self, topic: str) -> bool:
        return True if self.answering is None else await self.answering()


def _fetched(offset: int) -> Record:
    return Record("commands", 0, offset, 1000, b"key", b"{}", ())


class _Scene:
    def __init__(self, end: int = 3) -> None:
        self.lane = Lane(LaneName("group", "commands", 0), Inbox(100, Budget(1024 * 1024)), Told())
        self.consumer, self.watch = _Consumer(end), _Watch()
        self.reader = Reader(cast(Any, self.consumer), {PLACE: self.lane}, Settings(), cast(Any, self.watch))
        self.open(0)

    def open(self, applied: int) -> None:
        """As a session does when it has placed the lane."""
        self.lane.run(applied)
        self.consumer.seek(PLACE, applied)

    def reopen(self, applied: int) -> None:
        """As the session after one that failed."""
        self.lane.reopen("doubt")
        self.open(applied)

    async def poll(self) -> None:
        await self.reader.poll({PLACE: self.lane})

    def waiting(self) -> list[int]:
        """Offsets of the records that the lane has been handed."""
        return [record.offset for record in self.lane.inbox.take(EXPECTED, 100, 1024 * 1024).records]


async def test_a_poll_feeds_its_lane() -> None:
    """In order, and where the next fetch starts."""
    scene = _Scene()
    await scene.poll()
    assert scene.waiting() == [0, 1, 2]
    assert scene.lane.inbox.fetch_offset == 3


async def test_a_poll_hands_over_a_bounded_number_of_records() -> None:
    """A batch of a megabyte holds 110,000 tombstones. As objects they take thirty times their bytes.

    Seen to fail: a worker with six lanes that met such batches had 220 MB at its peak, and 48 lanes would take a
    gigabyte.
    """
    scene, handed = _Scene(2_500), list[int]()
    for _ in range(3):
        await scene.poll()
        handed.append(len(scene.lane.inbox))
    assert handed == [1_000, 2_000, 2_500]
    assert scene.lane.inbox.failure is None


@pytest.mark.parametrize("applied", [0, 2], ids=["where it stood", "further on"])
async def test_records_of_before_a_reopening_do_not_reach_the_lane_after_it(applied: int) -> None:
    """Found on two brokers: an answer on the topic's identity came late, and the session had failed meanwhile.

    Seen to fail while only the lane was compared: results came in the order 1, 2, 0, or not at all.
    """
    scene = _Scene()

    async def late() -> bool:
        scene.reopen(applied)
        return True

    scene.watch.answering = late
    await scene.poll()
    assert scene.waiting() == []
    scene.watch.answering = None
    await scene.poll()
    assert scene.waiting() == [*range(applied, 3)]
    assert scene.lane.inbox.failure is None


async def test_records_that_were_fetched_for_the_lane_before_are_fetched_again() -> None:
    """A session may also fail while a poll waits for records."""
    scene = _Scene()
    scene.consumer.meanwhile = lambda: scene.reopen(1)
    await scene.poll()
    assert scene.waiting() == []
    await scene.poll()
    assert scene.waiting() == [1, 2]


async def test_records_of_another_topic_are_not_used() -> None:
    """What was fetched while the topic was made anew."""
    scene = _Scene()

    async def another() -> bool:
        return False

    scene.watch.answering = another
    await scene.poll()
    assert scene.waiting() == []


async def test_a_lane_whose_poll_failed_does_not_go_on_with_a_gap() -> None:
    """aiokafka moves its position although the poll failed (guard B1): the lane is opened again."""
    scene = _Scene()
    scene.consumer.seek(PLACE, 2)
    await scene.poll()
    assert scene.waiting() == []
    assert scene.lane.inbox.failure == "expected the consumer at 0, found it at 2"


async def test_a_failure_of_before_a_reopening_does_not_reach_the_lane_after_it() -> None:
    """The lane was opened anew because of it, perhaps."""
    scene = _Scene()

    def fail() -> None:
        scene.reopen(0)
        raise ConnectionError

    scene.consumer.meanwhile = fail
    await scene.poll()
    assert scene.lane.inbox.failure is None


async def test_a_partition_that_cannot_be_read_fails_its_lane() -> None:
    """And says why; the position may have moved (guard B18)."""
    scene = _Scene()

    def fail() -> None:
        raise ConnectionError("no route")

    scene.consumer.meanwhile = fail
    await scene.poll()
    assert scene.lane.inbox.failure == "fetching failed: ConnectionError: no route"
