"""How far results were published is told from all result topics, or not at all."""

import time
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.structs import TopicPartition

from worker.messages.envelope import Record
from worker.settings import Settings
from worker.stream import published as module
from worker.stream.log_reader import Bounds
from worker.stream.published import before, newest_results, published_ends

SETTINGS = Settings()


def _cluster(*topics: str) -> Any:
    """A broker that knows these topics, and nothing of the others for the moment."""

    async def partition_counts(names: list[str]) -> dict[str, int]:
        return {name: 1 for name in names if name in topics}

    async def client() -> None:
        raise AssertionError("a log was read")

    return cast(Any, SimpleNamespace(partition_counts=partition_counts, client=client))


async def test_a_result_topic_that_a_broker_does_not_know_is_an_error() -> None:
    """Seen to fail where such a topic was passed over: its results were not counted, and E was too low."""
    with pytest.raises(UnknownTopicOrPartitionError, match=SETTINGS.topic_created):
        await published_ends(SETTINGS, _cluster(), {0: 1000}, {0: 10})


async def test_the_newest_results_are_unknown_then() -> None:
    """They only give the reason of a halt."""
    lanes = {TopicPartition(SETTINGS.topic_commands, partition): 10 for partition in (0, 3)}
    assert await newest_results(SETTINGS, _cluster(), lanes) == dict.fromkeys(lanes)


class _Reader:
    """Each result topic has results of commands 0/7 and 1/3, and a stranger's record that names 0/99999."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    async def bounds(self, _: str, numbers: Collection[int]) -> dict[int, Bounds]:
        return dict.fromkeys(numbers, Bounds(0, 3))

    async def first_since(self, _: str, numbers: Collection[int], *__: object) -> dict[int, int]:
        return dict.fromkeys(numbers, 0)

    async def read(self, topic: str, *_: object) -> AsyncIterator[list[Record]]:
        places = [f"{SETTINGS.topic_commands}/{place}".encode() for place in ("0/7", "0/99999", "1/3")]
        yield [Record(topic, 0, at, 0, None, b"{}", [("ce_causationid", name)]) for at, name in enumerate(places)]


async def test_a_record_that_names_a_command_that_does_not_exist_yet_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen to fail: the reason of a halt said that commits were lost, where somebody had set the offset ahead."""
    monkeypatch.setattr(module, "LogReader", _Reader)
    cluster = _cluster(*SETTINGS.result_topics)
    lanes = {TopicPartition(SETTINGS.topic_commands, 0): 10, TopicPartition(SETTINGS.topic_commands, 2): 10}
    assert [*(await newest_results(SETTINGS, cluster, lanes)).values()] == [7, None]
    assert await published_ends(SETTINGS, cluster, {0: 1000}, {0: 10, 1: 10}) == {0: 8}


def test_results_are_an_hour_older_than_their_commands_at_most() -> None:
    """By the clocks of brokers. Those of producers may say anything."""
    noon_ms = 1_778_320_800_000
    assert before(SETTINGS, noon_ms) == datetime.fromtimestamp(noon_ms / 1000, UTC) - timedelta(hours=1)
    assert (
        before(SETTINGS, 1000)
        == before(Settings(allow_producer_time=True), noon_ms)
        == datetime(1970, 1, 1, tzinfo=UTC)
    )


async def test_without_partitions_nobody_is_asked() -> None:
    """Neither broker nor log."""
    assert await published_ends(SETTINGS, _cluster(), {}, {}) == {}
    assert await newest_results(SETTINGS, _cluster(), {}) == {}


def test_a_time_that_is_still_to_come_is_a_producers() -> None:
    """The topic kept producers' times once, and some of its records have them still, such as microseconds.

    Seen to fail: the year 58,322 raised, again and again, and the lane never opened. A clock that was a day ahead
    passed over results, which then came twice.
    """
    now_ms = int(time.time() * 1000)
    for produced_ms in (1_778_320_800_000_000, 2**63 - 1, now_ms + 86_400_000):
        assert before(SETTINGS, produced_ms) == datetime(1970, 1, 1, tzinfo=UTC)
    assert before(SETTINGS, now_ms + 60_000) > datetime(2026, 1, 1, tzinfo=UTC)
