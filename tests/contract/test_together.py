"""Lanes of one worker share transactions, and nothing else: what befalls one of them is not the others' affair."""

import asyncio
from collections.abc import Sequence, Sized
from functools import partial
from typing import Any

import pytest
from asyncpg.transaction import Transaction

import worker.processing
from tests.contract.test_halving import POISON
from tests.contract.world import CATALOGUE, GROWTH, OPEN, Lane, ask, facts_of, processor_of, verdict
from tests.workbench import until
from worker.domain.command import Command, CreatePassport
from worker.domain.decide import decide
from worker.domain.facts import Facts
from worker.domain.outcomes import Outcome
from worker.messages.envelope import Record
from worker.messages.events import Answer
from worker.processing import Ready
from worker.store.memory import MemoryBatch, MemoryStore
from worker.store.port import LostLane, Position, Store, StoreAway
from worker.store.postgres import PostgresBatch, PostgresStore

LANES = 3


async def _lanes(store: Store) -> list[Lane]:
    processor = processor_of(store)
    return [await Lane.open(store, partition, processor) for partition in range(LANES)]


async def _each(lanes: list[Lane]) -> list[list[Answer] | BaseException]:
    """What two records become in each lane, in one transaction: one serial in all lanes, and one of each lane's own."""
    asked = [[ask(OPEN, 1, "s"), ask(OPEN, 1, f"s-{at}")] for at in range(LANES)]
    return await _at_once(lanes, asked)


async def _at_once(lanes: list[Lane], asked: list[list[Record]]) -> list[list[Answer] | BaseException]:
    """While another lane's transaction takes its time, all lanes come, in their order."""
    another = await Lane.open(lanes[0].store, LANES, lanes[0].processor)
    group, go_on = lanes[0].processor._group_commit, asyncio.Event()
    transaction = group._transaction

    async def slow(ready: Sequence[Ready]) -> Sequence[list[Answer]]:
        await go_on.wait()
        return await transaction(ready)

    group._transaction = slow
    tasks = [asyncio.create_task(another.process())]
    await until(lambda: bool(group._group), 10, "the other lane's transaction runs")
    for place, (lane, own) in enumerate(zip(lanes, asked, strict=True)):
        tasks.append(asyncio.create_task(lane.process(*own)))
        await until(partial(_waits, group._waiting, place), 10, f"lane {place} waits")
    go_on.set()
    _, *answered = await asyncio.gather(*tasks, return_exceptions=True)
    return answered


def _waits(waiting: Sized, place: int) -> bool:
    return len(waiting) > place


def _verdicts(answers: list[Answer] | BaseException) -> list[str] | type[BaseException]:
    return [verdict(answer) for answer in answers] if isinstance(answers, list) else type(answers)


def _count_transactions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of lanes of each transaction that recorded."""
    sizes: list[int] = []
    for batch in (MemoryBatch, PostgresBatch):
        monkeypatch.setattr(batch, "record", _counting(sizes, batch.record))
    return sizes


def _counting(sizes: list[int], record: Any) -> Any:
    async def counting(batch: Any, created: Any, answers: Any, positions: Any) -> None:
        sizes.append(len(positions))
        await record(batch, created, answers, positions)

    return counting


async def test_lanes_share_a_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """They see each other's passports in it, and each keeps its own ledger and position."""
    sizes = _count_transactions(monkeypatch)
    lanes = await _lanes(store)
    answered = await _each(lanes)
    assert sizes == [1, LANES]
    assert [_verdicts(answers) for answers in answered] == [
        ["created", "created"],
        ["409 serial_exists", "created"],
        ["409 serial_exists", "created"],
    ]
    for lane, answers in zip(lanes, answered, strict=True):
        assert await lane.answers() == answers
        assert await store.position(lane.hold) == Position(2, 0, 0)


@pytest.mark.parametrize(("batch_bytes", "sizes"), [(4000, [1, 2, 1]), (2000, [1, 1, 1, 1])])
async def test_lanes_with_large_answers_share_less(
    store: Store, monkeypatch: pytest.MonkeyPatch, batch_bytes: int, sizes: list[int]
) -> None:
    """A transaction that would be too large is not even begun; a lane that is too large alone is its own affair."""
    monkeypatch.setattr(worker.processing, "BATCH_BYTES", batch_bytes)
    begun = _count_transactions(monkeypatch)
    answered = await _at_once(await _lanes(store), [[ask(OPEN, 1, f"s{at}" * 30)] * 2 for at in range(LANES)])
    assert [_verdicts(answers) for answers in answered] == [["created", "409 serial_exists"]] * LANES
    assert begun == sizes


async def test_a_quota_is_one_quota_for_all_lanes(store: Store) -> None:
    """Three slots for nine commands of three lanes."""
    lanes = await _lanes(store)
    answered = await _at_once(lanes, [[ask(GROWTH, 1, f"{at}-{n}") for n in range(3)] for at in range(LANES)])
    assert [_verdicts(answers) for answers in answered] == [["created"] * 3] + [["402 overage_required"] * 3] * 2


def _check_others(*answered: list[Answer] | BaseException) -> None:
    """Alone they come in any order: the common serial is one's, and all else is created."""
    first, *others = sorted([_verdicts(answers) for answers in answered], key=str, reverse=True)
    assert first == ["created", "created"]
    assert others == [["409 serial_exists", "created"]] * len(others)


async def test_a_lane_that_was_lost_is_lost_alone(store: Store) -> None:
    """It had no effect, and the others go on as if it had not been there."""
    lanes = await _lanes(store)
    heir = await Lane.open(store, 0)
    answered = await _each(lanes)
    assert _verdicts(answered[0]) is LostLane
    _check_others(answered[1], answered[2])
    assert await heir.answers() == []


async def test_a_lane_that_stands_elsewhere_reopens_alone(store: Store) -> None:
    """Its answer to a commit was lost, say; the others do not even notice."""
    lanes = await _lanes(store)
    lanes[1].applied = 7
    answered = await _each(lanes)
    assert _verdicts(answered[1]) is StoreAway
    _check_others(answered[0], answered[2])


async def test_a_record_that_cannot_be_processed_harms_no_other_lane(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found and refused in its own lane."""

    def badly(command: Command, facts: Facts) -> Outcome:
        if isinstance(command.body, CreatePassport) and command.body.serial == POISON:
            raise ZeroDivisionError
        return decide(command, facts)

    monkeypatch.setattr(worker.processing, "decide", badly)
    lanes = await _lanes(store)
    asked = [[ask(OPEN, 1, "a"), ask(OPEN, 1, POISON), ask(OPEN, 1, "b")], [ask(OPEN, 1, "c")], [ask(OPEN, 1, "d")]]
    answered = [_verdicts(answers) for answers in await _at_once(lanes, asked)]
    assert answered == [["created", "400 Unreadable command", "created"], ["created"], ["created"]]


async def test_an_outage_is_everybodys(postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """All lanes are told, nothing is kept, and the same records go through when the database is back."""
    lanes = await _lanes(postgres)

    async def away(*_: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(PostgresBatch, "record", away)
        assert [_verdicts(answers) for answers in await _each(lanes)] == [StoreAway] * LANES
    again = await _lanes(postgres)
    assert [lane.applied for lane in again] == [0] * LANES
    assert _verdicts((await _each(again))[0]) == ["created", "created"]


async def test_a_commit_without_an_answer_is_looked_up_by_each(
    postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took place: nobody does the work again, and each lane finds its position and answers."""
    commit = Transaction.commit

    async def silent(transaction: Transaction) -> None:
        await commit(transaction)
        if await _took_place(postgres):
            raise TimeoutError("the answer to COMMIT was lost")

    lanes = await _lanes(postgres)
    monkeypatch.setattr(Transaction, "commit", silent)
    assert [_verdicts(answers) for answers in await _each(lanes)] == [StoreAway] * LANES
    monkeypatch.undo()
    again = await _lanes(postgres)
    assert [lane.applied for lane in again] == [2] * LANES
    assert [verdict(one) for lane in again for one in await lane.answers()].count("created") == LANES + 1


async def _took_place(postgres: PostgresStore) -> bool:
    async with postgres.session() as connection:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM passport)"))


async def test_a_lane_that_is_cut_off_takes_no_other_along() -> None:
    """Its part may be committed all the same: whoever has the lane next finds it in the ledger."""
    store = MemoryStore(facts_of(CATALOGUE))
    lanes = await _lanes(store)
    tasks = [asyncio.create_task(lane.process(ask(OPEN, 1, f"s{at}"))) for at, lane in enumerate(lanes)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    assert [verdict(answer) for task in tasks[1:] for answer in await task] == ["created", "created"]
    heir = await Lane.open(store, 0)
    assert len(await heir.answers()) == heir.applied
