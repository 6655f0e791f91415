"""Closing a client is bounded and cancels nobody but itself."""

import asyncio

from worker.stream.cluster.connection import close_within


async def test_a_stray_cancellation_stays_inside() -> None:
    """aiokafka raises one from `consumer.stop()` while a fetch fails; awaited directly, it ended the worker."""

    async def close() -> None:
        raise asyncio.CancelledError

    await close_within(close(), 1.0)


async def test_whatever_closing_raises_stays_inside() -> None:
    """A connection that breaks while it is closed is closed all the same."""

    async def close() -> None:
        raise ConnectionResetError

    await close_within(close(), 1.0)


async def test_a_client_that_never_closes_is_left() -> None:
    """aiokafka waits without bounds for a broker that hangs (guard B5)."""
    cancelled = asyncio.Event()

    async def close() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with asyncio.timeout(5.0):
        await close_within(close(), 0.01)
    assert cancelled.is_set()
