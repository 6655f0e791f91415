"""Which lanes `lanes recover` takes for damaged, and what is in its way, without servers."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.structs import TopicPartition

from worker.messages.envelope import Record
from worker.messages.events import Answer, event_of
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.store.port import Position, TopicIdentity
from worker.stream.cluster.offset_fetch_v7 import Committed
from worker.stream.positions import Log
from worker.tools.common.connected import Connected
from worker.tools.common.group_view import PartitionView
from worker.tools.common.history import Named
from worker.tools.common.inspection import LaneRow
from worker.tools.lanes import lost_lanes as module

HERE, STAGING = TopicIdentity("cluster-1", "topic-1"), TopicIdentity("cluster-2", "topic-2")


class _Servers:
    """Two lanes on both servers. The group stands at 10, results go as far, and A of partition 0 is 5."""

    connection = None

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.topic = HERE
        self.emitted = 10
        self.applied: dict[int, int | None] = {0: 5, 1: 10}
        self.going_on_to: int | None = None
        """Where all lanes are by the time that Kafka says E."""
        self._monkeypatch = monkeypatch

    async def lanes(self, *_: object) -> dict[int, LaneRow]:
        """Rows of Postgres; a lane without A never ran."""
        return {
            at: LaneRow(at, 1, None if applied is None else Position(applied, 0, 0, HERE))
            for at, applied in self.applied.items()
        }

    async def appended_at(self, *_: object) -> dict[int, int]:
        """Of commands: unknown."""
        return {}

    async def codes(self) -> dict[int, list[str]]:
        """Why each lane that lost commits cannot be recovered."""

        async def view(*_: object) -> dict[int, PartitionView]:
            return {at: PartitionView(Log(self.topic, 0, 10), None, None) for at in self.applied}

        async def offsets(*_: object) -> dict[int, int]:
            if self.going_on_to is not None:
                self.emitted, self.applied = self.going_on_to, dict.fromkeys(self.applied, self.going_on_to)
            return dict.fromkeys(self.applied, self.emitted)

        async def published(*_: object) -> int:
            return self.emitted

        async def nobody(*_: object) -> bool:
            return False

        async def no_rows(*_: object) -> tuple[int, None]:
            return 0, None

        fakes: dict[str, Any] = {
            "group_view": view,
            "offsets_once_stable": offsets,
            "published_end": published,
            "has_members": nobody,
            "ledger_rows": no_rows,
        }
        for name, fake in fakes.items():
            self._monkeypatch.setattr(module, name, fake)
        both = SimpleNamespace(settings=Settings(), cluster=None, database=self, reader=self)
        lanes = await module.find_lost_lanes(cast(Connected, both), (), None)
        return {lane.partition: [*lane.refusals.counts] for lane in lanes if lane.to_restore}


async def test_results_of_another_topic_are_never_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail: the database of production, joined to Kafka of a test, took over the passports of that test."""
    servers = _Servers(monkeypatch)
    assert await servers.codes() == {0: []}
    servers.topic = STAGING
    assert await servers.codes() == {0: ["other-topic"]}
    servers.applied = {0: None, 1: 10}
    assert await servers.codes() == {0: ["other-topic"]}, "the neighbour knows the topic of a lane that never ran"
    servers.applied = {0: None}
    assert await servers.codes() == {0: []}, "a copy from before the first worker"


async def test_lanes_that_go_on_while_they_are_looked_at_lost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail: a look at a busy system said `log-shorter`, and to stop all workers since commits were lost."""
    servers = _Servers(monkeypatch)
    servers.applied, servers.going_on_to = {0: 10, 1: 10}, 20
    assert await servers.codes() == {}


async def test_only_an_offset_below_the_results_was_moved_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail: a halted worker went on with its recovered lane, and the recovery said that it had to run again."""
    both, since = cast(Connected, None), datetime(2026, 11, 1, tzinfo=UTC)
    lanes = [module.LaneWithLostCommits(both, at, 5, 10, 10, since, at) for at in range(5)]

    async def offsets(*_: object) -> dict[int, int | None]:
        return {0: 10, 1: 14, 2: 7, 3: None}  # somebody has a transaction open for the last lane

    monkeypatch.setattr(module, "offsets_once_stable", offsets)
    assert [lane.partition for lane in await module.moved_lanes(both, lanes)] == [2, 3]


async def test_a_channel_that_nobody_serves_is_not_forgotten() -> None:
    """Seen to fail: its passports stayed lost, and their units were created a second time on another channel."""
    known, unknown, recovered, served = "gone.t", "made-later.t", "t", "served.t"
    offsets = {
        (topic, at): Committed(10, "passport-worker 10" if at < 2 else "by hand")
        for topic in (known, unknown, recovered, served)
        for at in range(3)
    }

    async def all_committed(_: str) -> dict[TopicPartition, Committed]:
        return {TopicPartition(*at): offset for at, offset in offsets.items()}

    async def lanes_of_group(_: str) -> dict[TopicPartition, LaneRow]:
        return {
            TopicPartition(known, at): LaneRow(at, 1, Position(applied, 0, 0)) for at, applied in enumerate((10, 5, 5))
        }

    both = SimpleNamespace(
        settings=Settings(topic_commands=recovered),
        cluster=SimpleNamespace(all_committed=all_committed),
        database=SimpleNamespace(lanes_of_group=lanes_of_group),
    )
    problems = await module.lanes_not_served([cast(Connected, both)], {served})
    assert [problem.place for problem in problems] == ["gone.t/1", "made-later.t/0", "made-later.t/1"]
    assert {problem.code for problem in problems} == {"channel-not-served"}


async def test_only_results_of_a_worker_tell_how_far_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail: a stranger's record named command 99999, and nothing could be recovered or reset any more."""
    settings, since = Settings(), datetime(2026, 11, 1, tzinfo=UTC)
    both = cast(Connected, SimpleNamespace(settings=settings, reader=None, topics=None))

    def named(offset: int, *, is_result: bool) -> Named:
        answer = Answer(offset, 0, Kind.REJECTED, "k", b"{}")
        key, value, headers = event_of(answer, settings.topic_commands, 0)
        cause = [header for header in headers if header[0] == "ce_causationid"]
        return Named(offset, Record(settings.topic_rejected, 0, 0, 0, key, value, headers if is_result else cause))

    async def end(*records: Named, kind: Kind | None = Kind.REJECTED) -> int:
        async def read(_: int) -> AsyncIterator[tuple[Kind | None, list[Named]]]:
            yield kind, [*records]

        async def logs(*_: object) -> SimpleNamespace:
            return SimpleNamespace(topic=settings.topic_commands, named=read)

        monkeypatch.setattr(module, "history", logs)
        return await module.published_end(both, 0, since)

    assert await end(named(7, is_result=True), named(99_999, is_result=False), named(6, is_result=True)) == 8
    assert await end(named(99_999, is_result=True)) == 100_000, "the log is shorter: a worker answered that command"
    assert await end(named(0, is_result=True)) == 1
    assert await end() == await end(named(7, is_result=True), kind=None) == 0
