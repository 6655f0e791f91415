"""From when on results are read that tell how far a partition was published, where Kafka has forgotten its offset."""

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import cast

import pytest
from aiokafka.structs import TopicPartition

from worker.settings import Settings
from worker.stream import forgotten as module
from worker.stream.dependencies import LaneDependencies
from worker.stream.forgotten import read_ends
from worker.stream.log_reader import Bounds

TOMORROW_MS = 1_778_400_000_000


class _LogReader:
    def __init__(self, _: object) -> None:
        pass

    async def bounds(self, _: str, partitions: Collection[int]) -> dict[int, Bounds]:
        return dict.fromkeys(partitions, Bounds(0, 9))

    async def appended_at(self, _: str, offsets: Mapping[int, int]) -> dict[int, int]:
        return dict.fromkeys(offsets, TOMORROW_MS)


@pytest.mark.parametrize(("allowed", "since_ms"), [(False, TOMORROW_MS), (True, 0)], ids=["broker", "producer"])
async def test_clocks_of_producers_do_not_choose_the_results(
    monkeypatch: pytest.MonkeyPatch, allowed: bool, since_ms: int
) -> None:
    """A producer may write local time as UTC: results from that moment on are in the future, and all are read then.

    Seen to fail: none was found, and results that were out came a second time.
    """

    async def published_ends(_: object, __: object, since: Mapping[int, int], ___: object) -> dict[int, int]:
        assert since == {3: since_ms}
        return {3: 8}

    monkeypatch.setattr(module, "LogReader", _LogReader)
    monkeypatch.setattr(module, "published_ends", published_ends)
    settings = Settings(allow_producer_time=allowed)
    shared = cast(LaneDependencies, SimpleNamespace(settings=settings, cluster=None))
    partition = TopicPartition(settings.topic_commands, 3)
    assert await read_ends(shared, {partition: 5}) == {partition: 8}
