"""Pauses between fetches: aiokafka asks again at once, whatever was found, and each request names every partition."""

import asyncio
import time
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer

EMPTY_SECONDS = 0.05
"""An empty fetch takes at least this. Kafka holds such a one back for longer; the demo's broker answers at once."""

FULL_SECONDS = 0.02
"""After a fetch that found something. What comes meanwhile is fetched together, and from all partitions."""


def pause_after_fetches(consumer: AIOKafkaConsumer) -> None:
    """Make a started consumer fetch less often. What was found is there for the reader before the pause."""
    fetcher = consumer._fetcher
    fetch = fetcher._proc_fetch_request  # public aiokafka has no place for a pause

    async def fetch_and_pause(*request: Any) -> bool:
        sent = time.monotonic()
        found: bool = await fetch(*request)
        for waiter in list(fetcher._fetch_waiters) if found else ():
            fetcher._notify(waiter)
        with suppress(asyncio.CancelledError):  # as `fetch` does: aiokafka cancels it, and wants its result
            await asyncio.sleep(FULL_SECONDS if found else EMPTY_SECONDS - (time.monotonic() - sent))
        return found

    fetcher._proc_fetch_request = fetch_and_pause
