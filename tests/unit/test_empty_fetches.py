"""Empty fetches are answered at once by the demo's broker, and are slowed down; all others are not."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from worker.stream.empty_fetches import SHORTEST_SECONDS, pause_after_empty_fetches


def _fetcher(found: bool, seconds: float) -> SimpleNamespace:
    """aiokafka's, as far as it matters: each fetch takes so long and finds that."""

    async def fetch(*request: object) -> bool:
        assert request == ("assignment", 1, "request")
        await asyncio.sleep(seconds)
        return found

    fetcher = SimpleNamespace(_proc_fetch_request=fetch)
    pause_after_empty_fetches(SimpleNamespace(_fetcher=fetcher))
    return fetcher


@pytest.mark.parametrize(
    ("found", "held", "least", "most"),
    [
        (False, 0.0, SHORTEST_SECONDS, 1.0),
        (True, 0.0, 0.0, SHORTEST_SECONDS),
        (False, 4 * SHORTEST_SECONDS, 4 * SHORTEST_SECONDS, 5 * SHORTEST_SECONDS),
    ],
    ids=["empty at once", "full at once", "empty, held by the broker"],
)
async def test_only_an_empty_answer_that_comes_at_once_is_waited_after(
    found: bool, held: float, least: float, most: float
) -> None:
    """What is found, and how long the whole takes."""
    started = time.monotonic()
    assert await _fetcher(found, held)._proc_fetch_request("assignment", 1, "request") is found
    assert least <= time.monotonic() - started < most


async def test_a_pause_that_is_cancelled_ends_as_the_fetch_does() -> None:
    """aiokafka cancels fetches of lost partitions and awaits them unguarded when it closes."""
    fetch = asyncio.create_task(_fetcher(False, 0.0)._proc_fetch_request("assignment", 1, "request"))
    await asyncio.sleep(SHORTEST_SECONDS / 5)
    fetch.cancel()
    assert await fetch is False
