"""A pause after an empty fetch that was answered at once. Kafka holds such a fetch back; the demo's broker does not."""

import asyncio
import time
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer

SHORTEST_SECONDS = 0.05
"""For an empty fetch; far below what Kafka holds one, so that nothing changes there."""


def pause_after_empty_fetches(consumer: AIOKafkaConsumer) -> None:
    """Let no empty fetch of a started consumer take less: aiokafka would send thousands a second, for ever."""
    fetcher = consumer._fetcher
    fetch = fetcher._proc_fetch_request  # public aiokafka has no place for a pause

    async def fetch_and_pause(*request: Any) -> bool:
        sent = time.monotonic()
        found: bool = await fetch(*request)
        if not found:
            with suppress(asyncio.CancelledError):  # as `fetch` does: aiokafka cancels it, and wants its result
                await asyncio.sleep(SHORTEST_SECONDS - (time.monotonic() - sent))
        return found

    fetcher._proc_fetch_request = fetch_and_pause
