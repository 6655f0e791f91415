"""Fetches are slowed down: an empty one that is answered at once, and those after a fetch that found something."""

import asyncio
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest
from aiokafka.consumer.fetcher import Fetcher, FetchError
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import TopicPartition

from worker.stream import aiokafka_internals
from worker.stream.aiokafka_internals import EMPTY_SECONDS, FULL_SECONDS, MOST_SECONDS, pause_after_fetches


def _fetcher(found: bool, seconds: float, notified: list[object] | None = None) -> SimpleNamespace:
    """aiokafka's, as far as it matters: each fetch takes so long and finds that."""

    async def fetch(*request: object) -> bool:
        assert request == ("assignment", 1, "request")
        await asyncio.sleep(seconds)
        return found

    told: list[object] = [] if notified is None else notified
    fetcher = SimpleNamespace(_proc_fetch_request=fetch, _fetch_waiters={"reader"}, _notify=told.append)
    fetcher.turn_is_nearly_over = pause_after_fetches(SimpleNamespace(_fetcher=fetcher))
    return fetcher


@pytest.mark.parametrize(
    ("found", "held", "least", "most"),
    [
        (False, 0.0, 0.8, 5.0),
        (True, 0.0, 0.4, 0.8),
        (False, 1.0, 1.0, 1.8),
    ],
    ids=["empty at once", "full at once", "empty, held by the broker"],
)
async def test_how_long_a_fetch_takes_at_least(
    monkeypatch: pytest.MonkeyPatch, found: bool, held: float, least: float, most: float
) -> None:
    """What is found, and how long the whole takes, with pauses that a busy machine cannot blur."""
    assert FULL_SECONDS < MOST_SECONDS < EMPTY_SECONDS
    monkeypatch.setattr(aiokafka_internals, "EMPTY_SECONDS", 0.8)
    monkeypatch.setattr(aiokafka_internals, "FULL_SECONDS", 0.2)
    monkeypatch.setattr(aiokafka_internals, "MOST_SECONDS", 0.4)
    started = time.monotonic()
    assert await _fetcher(found, held)._proc_fetch_request("assignment", 1, "request") is found
    assert least <= time.monotonic() - started < most


@pytest.mark.parametrize(
    ("nearly_over", "least", "most"),
    [(0.1, 0.2, 0.3), (0.3, 0.3, 0.4)],
    ids=["a short turn", "a turn that takes longer than the least pause"],
)
async def test_a_pause_ends_with_a_turn(
    monkeypatch: pytest.MonkeyPatch, nearly_over: float, least: float, most: float
) -> None:
    """After how many seconds the turn is nearly over: never before the least pause, so that fetches stay few."""
    monkeypatch.setattr(aiokafka_internals, "FULL_SECONDS", 0.2)
    monkeypatch.setattr(aiokafka_internals, "MOST_SECONDS", 0.4)
    fetcher, started = _fetcher(True, 0.0), time.monotonic()
    asyncio.get_running_loop().call_later(nearly_over, fetcher.turn_is_nearly_over)
    assert await fetcher._proc_fetch_request("assignment", 1, "request")
    assert least <= time.monotonic() - started < most


async def test_the_end_of_a_turn_ends_no_later_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that was over before the fetch says nothing about the next one."""
    monkeypatch.setattr(aiokafka_internals, "FULL_SECONDS", 0.1)
    monkeypatch.setattr(aiokafka_internals, "MOST_SECONDS", 0.2)
    fetcher, started = _fetcher(True, 0.0), time.monotonic()
    fetcher.turn_is_nearly_over()
    assert await fetcher._proc_fetch_request("assignment", 1, "request")
    assert time.monotonic() - started >= 0.2


async def test_what_was_found_is_there_before_the_pause() -> None:
    """Whoever waits for records has them at once: the pause costs a lone command nothing."""
    notified: list[object] = []
    fetch = asyncio.create_task(_fetcher(True, 0.0, notified)._proc_fetch_request("assignment", 1, "request"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (notified, fetch.done()) == (["reader"], False)
    assert await fetch


async def test_a_pause_that_is_cancelled_ends_as_the_fetch_does() -> None:
    """aiokafka cancels fetches of lost partitions and awaits them unguarded when it closes."""
    fetch = asyncio.create_task(_fetcher(False, 0.0)._proc_fetch_request("assignment", 1, "request"))
    await asyncio.sleep(EMPTY_SECONDS / 5)
    fetch.cancel()
    assert await fetch is False


async def test_records_that_nobody_reads_hold_up_no_fetch() -> None:
    """aiokafka's own fetcher goes on after the pause, though each fetch leaves records of a lane that has enough (B25).

    Seen to fail where aiokafka waits for their reader as long as the pause takes: half of the fetches came 200 ms late.
    """
    full, calm = TopicPartition("flooded", 0), TopicPartition("calm", 0)
    subscription = SubscriptionState()
    subscription.assign_from_user({full, calm})
    for partition in (full, calm):
        subscription.seek(partition, 0)
    cluster = SimpleNamespace(leader_for_partition=lambda _: 1)
    client = SimpleNamespace(_loop=asyncio.get_running_loop(), _metadata_max_age_ms=300_000, cluster=cluster)
    fetcher, began = Fetcher(client, subscription), list[float]()

    async def fetch(*_: object) -> bool:
        began.append(time.monotonic())
        fetcher._records[full] = FetchError(error=None, backoff=fetcher._prefetch_backoff)  # as fresh as records
        fetcher._notify(fetcher._wait_consume_future)  # the other partition is read
        return True

    fetcher._proc_fetch_request = fetch
    pause_after_fetches(SimpleNamespace(_fetcher=fetcher))
    try:
        await asyncio.sleep(1.5)
    finally:
        await fetcher.close()
    late = [after - before for before, after in pairwise(began) if after - before > 0.18]
    assert len(began) > 10
    assert len(late) <= 1
