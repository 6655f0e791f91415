"""When a producer of another session counts as fenced, by what its coordinator answers."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import (
    CoordinatorNotAvailableError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.protocol.transaction import InitProducerIdRequest

from worker.settings import Settings
from worker.stream import fencing
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.describe_transactions_v0 import TransactionStateRequest
from worker.stream.fencing import fence

CONCURRENT = 51
NOT_COORDINATOR = 16
FENCED = 0
FORBIDDEN = 53


class _Coordinator:
    """Answers one thing after the other: to InitProducerId a code, to DescribeTransactions a state or a code."""

    def __init__(self, *answers: int | str | Exception) -> None:
        self._answers = [*answers]
        self.asked: list[str] = []

    async def ask_transaction_coordinator(self, transactional_id: str, request: object) -> Any:
        assert transactional_id == "theirs"
        answer = self._answers.pop(0)
        self.asked.append("init" if isinstance(request, InitProducerIdRequest) else "describe")
        assert isinstance(request, InitProducerIdRequest | TransactionStateRequest)
        if isinstance(answer, Exception):
            raise answer
        if self.asked[-1] == "init":
            return SimpleNamespace(error_code=answer)
        code, state = (answer, "") if isinstance(answer, int) else (0, answer)
        return SimpleNamespace(transaction_states=[(code, transactional_id, state, 0, 0, 0, 0, [], {})])


async def _fence(coordinator: _Coordinator) -> list[str]:
    """What was asked until it counted as fenced; the coordinator has no more answers than that takes."""
    async with asyncio.timeout(5):
        await fence(cast(Cluster, coordinator), Settings(), "theirs")
    assert coordinator._answers == []
    return coordinator.asked


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other."""
    monkeypatch.setattr(fencing, "PAUSE_SECONDS", 0.0)


async def test_success_is_a_fence() -> None:
    """Whatever was open has ended, and its owner is refused from now on."""
    assert await _fence(_Coordinator(FENCED)) == ["init"]


async def test_an_abort_that_is_under_way_is_a_fence() -> None:
    """No producer of ours aborts, so the coordinator does, with a higher epoch: no offset can be committed by it.

    Without it, one result partition without a leader would hold up whoever opens the lanes for as long.
    """
    assert await _fence(_Coordinator(CONCURRENT, "PrepareAbort")) == ["init", "describe"]


@pytest.mark.parametrize("state", ["Ongoing", "PrepareCommit", "PrepareEpochFence", "CompleteCommit", "CompleteAbort"])
async def test_another_state_of_a_busy_transaction_proves_nothing(state: str) -> None:
    """A commit above all: its results will be visible and its offsets move, so it has to be waited for.

    Seen to double results in the model, where CONCURRENT_TRANSACTIONS was taken for fenced.
    """
    answers = (CONCURRENT, state) * 3
    assert await _fence(_Coordinator(*answers, FENCED)) == ["init", "describe"] * 3 + ["init"]


async def test_a_commit_of_our_own_producer_that_has_ended_is_a_fence() -> None:
    """Nobody goes on after it: it is decided, and only markers are missing, perhaps on a broker that hangs.

    Offsets that are not stable are waited for all the same.
    """
    coordinator = _Coordinator(CONCURRENT, "PrepareCommit", CONCURRENT, "PrepareCommit")
    ended = iter((False, True))
    async with asyncio.timeout(5):
        await fence(cast(Cluster, coordinator), Settings(), "theirs", lambda: next(ended))
    assert coordinator.asked == ["init", "describe"] * 2


@pytest.mark.parametrize(
    "old", [IncompatibleBrokerVersion("DescribeTransactions"), NotImplementedError("DescribeTransactions")], ids=repr
)
async def test_a_broker_that_knows_no_states_is_waited_for(old: Exception) -> None:
    """Until the markers are written."""
    assert await _fence(_Coordinator(CONCURRENT, old, FENCED)) == ["init", "describe", "init"]


@pytest.mark.parametrize(
    "trouble",
    [NOT_COORDINATOR, 14, 15, 47, 90, KafkaConnectionError("reset"), CoordinatorNotAvailableError(), TimeoutError()],
    ids=repr,
)
async def test_trouble_is_tried_again(trouble: int | Exception) -> None:
    """Whatever it is, for as long as it takes: a lane that opened without would double results."""
    assert await _fence(_Coordinator(trouble, trouble, FENCED)) == ["init"] * 3


async def test_a_state_that_is_not_told_is_asked_for_again() -> None:
    """From the beginning: it may be fenced by now."""
    asked = await _fence(_Coordinator(CONCURRENT, NOT_COORDINATOR, CONCURRENT, "PrepareAbort"))
    assert asked == ["init", "describe"] * 2


@pytest.mark.parametrize("answers", [(FORBIDDEN,), (CONCURRENT, FORBIDDEN)], ids=["init", "describe"])
async def test_who_may_not_fence_is_told(answers: tuple[int, ...]) -> None:
    """No patience helps: the lanes halt, and say which right is missing."""
    with pytest.raises(TransactionalIdAuthorizationFailed, match="theirs"):
        await _fence(_Coordinator(*answers))


async def test_an_answer_that_does_not_come_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time of a session: until then somebody may just be slow."""
    coordinator, hanging = _Coordinator(FENCED), asyncio.Event()
    ask = coordinator.ask_transaction_coordinator

    async def hang_once(transactional_id: str, request: object) -> Any:
        if not hanging.is_set():
            hanging.set()
            await asyncio.sleep(60)
        return await ask(transactional_id, request)

    monkeypatch.setattr(coordinator, "ask_transaction_coordinator", hang_once)
    async with asyncio.timeout(10):
        await fence(cast(Cluster, coordinator), Settings(kafka_session_timeout_seconds=1.0), "theirs")
    assert coordinator.asked == ["init"]


async def test_a_fence_that_is_cancelled_ends() -> None:
    """A session that ends takes its fences along, also while a coordinator answers nothing.

    Seen to fail while a cancellation counted as a failure that is tried again.
    """
    asking = asyncio.Event()

    async def hang(transactional_id: str, request: object) -> Any:
        asking.set()
        await asyncio.sleep(60)

    fencing = asyncio.create_task(
        fence(cast(Cluster, SimpleNamespace(ask_transaction_coordinator=hang)), Settings(), "a")
    )
    await asking.wait()
    fencing.cancel()
    await asyncio.wait({fencing}, timeout=2)
    assert fencing.cancelled()
