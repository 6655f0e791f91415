"""Which lanes `lanes recover` takes for damaged, and what is in its way, without servers."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker.settings import Settings
from worker.store.port import Position, TopicIdentity
from worker.stream.positions import Log
from worker.tools.common.connected import Connected
from worker.tools.common.group_view import PartitionView
from worker.tools.common.inspection import LaneRow
from worker.tools.lanes import lost_lanes as module

HERE, STAGING = TopicIdentity("cluster-1", "topic-1"), TopicIdentity("cluster-2", "topic-2")


class _Servers:
    """Two lanes on both servers. The group stands at 10, results go as far, and A of partition 0 is 5."""

    connection = None

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.topic = HERE
        self.applied: dict[int, int | None] = {0: 5, 1: 10}
        self._monkeypatch = monkeypatch

    async def lanes(self, *_: object) -> dict[int, LaneRow]:
        """Rows of Postgres; a lane without A never ran."""
        return {
            at: LaneRow(at, at, 1, 1, "m", frozenset(), None if applied is None else Position(applied, 0, 0, HERE))
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
            return dict.fromkeys(self.applied, 10)

        async def published(*_: object) -> int:
            return 10

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
