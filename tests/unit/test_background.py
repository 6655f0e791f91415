"""What should go on begins again, however it ended, and what is stopped stays so."""

import asyncio

import pytest
from structlog.testing import capture_logs

from worker.stream import background
from worker.stream.background import Background, StrayCancellation, in_own_task


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (None, "returned"),
        (ValueError("x"), "ValueError: x"),
        (asyncio.CancelledError(), "CancelledError: not by the worker"),
    ],
    ids=["returns", "raises", "is cancelled"],
)
async def test_a_task_that_ends_begins_again(
    monkeypatch: pytest.MonkeyPatch, end: BaseException | None, told: str
) -> None:
    """And it is told of."""
    monkeypatch.setattr(background, "RESTART_SECONDS", 0.0)
    began, ends, tasks = asyncio.Queue[int](), [end], Background()

    async def work() -> None:
        began.put_nowait(1)
        if not ends:
            await asyncio.Event().wait()
        elif (error := ends.pop()) is not None:
            raise error

    with capture_logs() as logs:
        tasks.start("work", work)
        for _ in range(2):
            await asyncio.wait_for(began.get(), 5)
        tasks.stop()
        await asyncio.sleep(0.01)
    assert began.empty()
    assert [(one["event"], one["task"], one["error"]) for one in logs] == [("background_task_ended", "work", told)]


async def test_a_stop_between_two_starts_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing begins again after it."""
    monkeypatch.setattr(background, "RESTART_SECONDS", 0.01)
    began, tasks = list[int](), Background()

    async def work() -> None:
        began.append(1)

    tasks.start("work", work)
    await asyncio.sleep(0.002)
    tasks.stop()
    await asyncio.sleep(0.05)
    assert began == [1]


async def test_cancellations_of_others_are_errors_and_ours_are_not() -> None:
    """What is awaited apart gets ours, and has ended when we go on."""
    ended = list[str]()

    async def stray() -> None:
        raise asyncio.CancelledError

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.append("slow")

    with pytest.raises(StrayCancellation):
        await in_own_task(stray())
    waiting = asyncio.create_task(in_own_task(slow()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == ["slow"]
