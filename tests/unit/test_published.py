"""How far results were published is told from all result topics, or not at all."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.structs import TopicPartition

from worker.settings import Settings
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
    lanes = [TopicPartition(SETTINGS.topic_commands, partition) for partition in (0, 3)]
    assert await newest_results(SETTINGS, _cluster(), lanes) == dict.fromkeys(lanes)


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
    assert await newest_results(SETTINGS, _cluster(), []) == {}
