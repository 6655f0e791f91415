"""Lanes of one worker share transactions, and nothing else: what befalls one of them is not the others' affair."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from asyncpg.exceptions import DivisionByZeroError

import worker.batch.pipeline
import worker.batch.recovery
import worker.store.postgres
from tests.contract.test_halving import POISON
from tests.contract.world import CATALOGUE, GROWTH, LINK_BASE, OPEN, Lane, ask, processor_of, signed, verdict
from tests.memory_store import MemoryStore, MemoryTransaction
from tests.spans import attributes, events, spans_in_memory
from worker.batch.batch import Batch, RetriesExhausted
from worker.batch.pipeline import Pipeline
from worker.batch.recovery import Processor
from worker.domain.command import Command, CreatePassport
from worker.domain.decide import decide
from worker.domain.facts import Facts
from worker.domain.outcomes import Outcome
from worker.messages.envelope import Record
from worker.observability.hooks import Activity
from worker.store import sql
from worker.store.port import (
    BatchTooLarge,
    ConcurrentUpdate,
    LostLane,
    Position,
    Retriable,
    Store,
    StoreSlow,
    StoreUnavailable,
)
from worker.store.postgres import PostgresStore
from worker.store.transaction import PostgresTransaction
from worker.tools.common.catalogue.facts import facts_of

LANES = 3


async def _lanes(store: Store) -> list[Lane]:
    processor = processor_of(store)
    return [await Lane.open(store, partition, processor) for partition in range(LANES)]


async def _each(lanes: list[Lane]) -> list[Batch]:
    """What two records become in each lane, in one turn: one serial in all lanes, and one of each lane's own."""
    return await _turn(lanes, [[ask(OPEN, 1, "s"), ask(OPEN, 1, f"s-{at}")] for at in range(LANES)])


async def _turn(lanes: Sequence[Lane], asked: Sequence[Sequence[Record]]) -> list[Batch]:
    """What becomes of the records of each lane."""
    turn = [lane.batch(*own) for lane, own in zip(lanes, asked, strict=True)]
    await lanes[0].processor.process(turn)
    for lane, batch in zip(lanes, turn, strict=True):
        if batch.error is None:
            lane.applied = batch.stop
    return turn


def _verdicts(batch: Batch) -> list[str] | type[BaseException]:
    return [verdict(answer) for answer in batch.answers] if batch.error is None else type(batch.error)


def _count_transactions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of lanes of each transaction that recorded."""
    sizes: list[int] = []
    for batch in (MemoryTransaction, PostgresTransaction):
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
    assert sizes == [LANES]
    assert [_verdicts(batch) for batch in answered] == [
        ["created", "created"],
        ["409 serial_exists", "created"],
        ["409 serial_exists", "created"],
    ]
    for lane, batch in zip(lanes, answered, strict=True):
        assert await lane.answers() == batch.answers
        assert await store.positions([lane.token]) == {lane.token: Position(2, 0, 0)}


async def test_signatures_are_verified_for_all_lanes_of_a_turn(store: Store) -> None:
    """Also where another lane brings none."""
    asked = [[ask(OPEN, 1, "s")], [signed(ask(OPEN, 1, "t"), OPEN)], [signed(ask(OPEN, 1, "u", key="k"), OPEN)]]
    assert [_verdicts(batch) for batch in await _turn(await _lanes(store), asked)] == [["created"]] * LANES


@pytest.mark.parametrize("together", [2, 1])
async def test_lanes_with_large_answers_share_less(
    store: Store, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """A transaction that would be too large is not even begun: all of its lanes are told, and come in smaller turns."""
    monkeypatch.setattr(worker.batch.pipeline, "TURN_ANSWER_BYTES", 2000 * together)
    begun = _count_transactions(monkeypatch)
    lanes, asked = await _lanes(store), [[ask(OPEN, 1, f"s{at}" * 30)] * 2 for at in range(LANES)]
    assert [type(batch.error) for batch in await _turn(lanes, asked)] == [BatchTooLarge] * LANES
    assert begun == []
    done = await _turn(lanes[:together], asked[:together])
    assert [_verdicts(batch) for batch in done] == [["created", "409 serial_exists"]] * together
    assert begun == [together]


async def test_a_quota_is_one_quota_for_all_lanes(store: Store) -> None:
    """Three slots for nine commands of three lanes."""
    lanes = await _lanes(store)
    answered = await _turn(lanes, [[ask(GROWTH, 1, f"{at}-{n}") for n in range(3)] for at in range(LANES)])
    assert [_verdicts(batch) for batch in answered] == [["created"] * 3] + [["402 overage_required"] * 3] * 2


def _before_each_transaction(monkeypatch: pytest.MonkeyPatch, store: Store, act: Callable[[int], Any]) -> list[int]:
    """Let something happen before each try; the numbers of the tries that came so far."""
    look_up: Any = type(store).look_up
    numbers: list[int] = []

    async def meddled(self: Store, *arguments: Any) -> Facts:
        numbers.append(len(numbers) + 1)
        await act(numbers[-1])
        facts: Facts = await look_up(self, *arguments)
        return facts

    monkeypatch.setattr(type(store), "look_up", meddled)
    return numbers


async def test_a_lane_that_was_lost_is_lost_alone(store: Store) -> None:
    """It had no effect, and the others go on as if it had not been there."""
    lanes = await _lanes(store)
    heir = await Lane.open(store, 0)
    done = await _each(lanes)
    assert [_verdicts(batch) for batch in done] == [LostLane, ["created", "created"], ["409 serial_exists", "created"]]
    assert await store.answers(heir.token, 0, 9, 9) == []


async def test_lanes_that_are_lost_one_after_the_other_leave_the_rest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try finds another one gone; each is named with its own epoch, in its own place."""
    lanes = await _lanes(store)

    async def act(number: int) -> None:
        if number < LANES:
            await Lane.open(store, LANES - number)

    tries = _before_each_transaction(monkeypatch, store, act)
    done = await _each(lanes)
    assert len(tries) == LANES
    assert [_verdicts(batch) for batch in done] == [["created", "created"], LostLane, LostLane]
    lost = [batch.error.tokens for batch in done if isinstance(batch.error, LostLane)]
    assert lost == [{lane.token} for lane in lanes[1:]]


async def test_where_all_lanes_are_lost_nothing_is_left_to_do(store: Store) -> None:
    """Each is told, in one try."""
    lanes = await _lanes(store)
    heirs = await _lanes(store)
    assert [_verdicts(batch) for batch in await _each(lanes)] == [LostLane] * LANES
    assert [await store.answers(heir.token, 0, 9, 9) for heir in heirs] == [[]] * LANES


async def test_a_turn_without_lanes_does_nothing(store: Store) -> None:
    """It needs no database."""
    await processor_of(store).process([])


async def test_a_lane_that_stands_elsewhere_ends_the_turn(store: Store) -> None:
    """Its answer to a commit was lost, say. Nothing is kept of any lane, and all of them ask where they stand."""
    lanes = await _lanes(store)
    lanes[1].applied = 7
    with pytest.raises(StoreUnavailable, match="expected to be at 7, found"):
        await _each(lanes)
    again = await _lanes(store)
    assert [lane.applied for lane in again] == [0] * LANES
    assert _verdicts((await _each(again))[0]) == ["created", "created"]


def _decide_badly(command: Command, facts: Facts) -> Outcome:
    if isinstance(command.body, CreatePassport) and command.body.serial == POISON:
        raise ZeroDivisionError
    return decide(command, facts)


_POISONED = [[ask(OPEN, 1, "a"), ask(OPEN, 1, POISON), ask(OPEN, 1, "b")], [ask(OPEN, 1, "c")], [ask(OPEN, 1, "d")]]
"""What is asked of three lanes; a record of the first brings out a defect."""


async def test_a_record_that_cannot_be_processed_harms_no_other_lane(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found and refused in its own lane."""
    monkeypatch.setattr(worker.batch.pipeline, "decide", _decide_badly)
    sizes = _count_transactions(monkeypatch)
    done = [_verdicts(batch) for batch in await _turn(await _lanes(store), _POISONED)]
    assert done == [["created", "400 Unreadable command", "created"], ["created"], ["created"]]
    assert sizes == [1] * 5, "three records of the first lane by halves, and two lanes by themselves"


async def test_the_spans_of_other_lanes_know_nothing_of_a_refused_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed together is told by each; what was found in a lane, by its own. Seen to fail: the first told all."""
    monkeypatch.setattr(worker.batch.pipeline, "decide", _decide_badly)
    spans, store = spans_in_memory(), MemoryStore(facts_of(CATALOGUE))
    processor = Processor(Pipeline(store, LINK_BASE, spans.tracing), spans.tracing)
    lanes = [await Lane.open(store, partition, processor) for partition in range(LANES)]
    turn = [lane.batch(*records) for lane, records in zip(lanes, reversed(_POISONED), strict=True)]
    batches = [Activity(lane.token.name, 0) for lane in lanes]
    for batch in batches:
        spans.tracing.begins(batch)
    with spans.tracing.within(batches):
        await processor.process(turn)
    for batch in batches:
        spans.tracing.ended(batch)
    told = [[name for name, _ in events(span)] for span in spans.named("process")]
    assert told[:2] == [["batch_failed"]] * 2
    assert told[2][-1] == "record_refused"
    lanes_of = [attributes(span)["passport.transaction.lanes"] for span in spans.named("transaction")]
    assert (lanes_of[0], set(lanes_of[1:])) == (LANES, {1}), "together once, and then each by itself"


async def test_a_lane_that_is_lost_while_it_is_halved_keeps_what_it_had(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has it now finds the answers of the first half; the other lanes go on."""
    monkeypatch.setattr(worker.batch.pipeline, "decide", _decide_badly)
    lanes, heirs = await _lanes(store), list[Lane]()

    async def act(number: int) -> None:
        if number == 4:  # all together, the first lane alone, its first half
            heirs.append(await Lane.open(store, 0))

    _before_each_transaction(monkeypatch, store, act)
    done = await _turn(lanes, _POISONED)
    assert [_verdicts(batch) for batch in done] == [LostLane, ["created"], ["created"]]
    assert [verdict(answer) for answer in await heirs[0].answers()] == ["created"]
    assert await heirs[0].verdicts(*_POISONED[0][1:]) == ["400 Unreadable command", "created"]


async def test_an_outage_while_lanes_are_tried_alone_ends_the_turn(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed until then stays, and the positions tell it."""
    lanes = await _lanes(store)

    async def act(number: int) -> None:
        if number == 3:  # all together, the first lane, the second
            raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(worker.batch.pipeline, "decide", _decide_badly)
        _before_each_transaction(patched, store, act)
        with pytest.raises(StoreUnavailable, match="away"):
            await _turn(lanes, [_POISONED[1], _POISONED[2], [ask(OPEN, 1, POISON)]])
    assert [lane.applied for lane in await _lanes(store)] == [1, 0, 0]


def _fail_with(monkeypatch: pytest.MonkeyPatch, partition: int, error: Callable[[int], Exception | None]) -> list[int]:
    """Let a lane's part of a transaction fail; how many lanes each transaction had. `error` knows how many records."""
    sizes: list[int] = []
    for batch in (MemoryTransaction, PostgresTransaction):
        monkeypatch.setattr(batch, "record", _failing(batch.record, sizes, partition, error))
    return sizes


def _failing(record: Any, sizes: list[int], partition: int, error: Callable[[int], Exception | None]) -> Any:
    async def failing(batch: Any, created: Any, answers: Any, positions: Any) -> None:
        sizes.append(len(positions))
        for own in answers:
            if any(one.key == f"lane-{partition}" and one.dead_letter is None for one in own):
                found = error(sum(map(len, answers)))
                if found is not None:
                    raise found
        await record(batch, created, answers, positions)

    return failing


def _named(count: int = 2) -> list[list[Record]]:
    """Records whose first tells its lane by its key."""
    return [[ask(OPEN, 1, f"{at}-{n}", key=None if n else f"lane-{at}") for n in range(count)] for at in range(LANES)]


async def test_a_turn_that_is_rolled_back_runs_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadlock is nobody's fault, and passes."""
    errors: list[Exception] = [Retriable("40P01")]
    sizes = _fail_with(monkeypatch, 1, lambda _: errors.pop() if errors else None)
    done = await _turn(await _lanes(store), _named())
    assert [_verdicts(batch) for batch in done] == [["created"] * 2] * LANES
    assert sizes == [LANES, LANES]


async def test_a_lane_that_is_tried_in_vain_is_away_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody keeps its locks, perhaps: nothing of it is refused, and the others get their answers."""
    monkeypatch.setattr(worker.batch.recovery, "_ATTEMPTS", 3)
    with monkeypatch.context() as patched:
        sizes = _fail_with(patched, 1, lambda _: Retriable("55P03"))
        done = await _turn(await _lanes(store), _named())
    assert [_verdicts(batch) for batch in done] == [["created"] * 2, RetriesExhausted, ["created"] * 2]
    assert sizes == [LANES, LANES, 1, 1, 1, 1, 1], "twice together, and the one three times"
    assert issubclass(RetriesExhausted, StoreUnavailable)
    again = await _lanes(store)
    assert [lane.applied for lane in again] == [2, 0, 2]
    assert await again[1].verdicts(*_named()[1]) == ["created", "created"]


async def test_what_is_overtaken_every_time_is_found_in_its_lane(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a record's doing: that one is refused."""
    monkeypatch.setattr(worker.batch.recovery, "_ATTEMPTS", 2)
    _fail_with(monkeypatch, 1, lambda _: ConcurrentUpdate("23505"))
    done = await _turn(await _lanes(store), _named())
    refused = ["400 Unreadable command", "created"]
    assert [_verdicts(batch) for batch in done] == [["created"] * 2, refused, ["created"] * 2]


async def test_a_record_that_cannot_even_be_refused_stops_its_lane_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail where that was raised: it ended the turn, and so did the next one, for all lanes."""
    kept: list[Any] = []

    def unprocessable(*asked: Any) -> Command:
        kept.append(asked)
        raise KeyError("serial 4711")

    monkeypatch.setattr(worker.batch.pipeline, "decide", _decide_badly)
    monkeypatch.setattr(worker.batch.recovery, "unprocessable", unprocessable)
    done = await _turn(await _lanes(store), _POISONED)
    assert [_verdicts(batch) for batch in done] == [RetriesExhausted, ["created"], ["created"]]
    assert (len(kept), str(done[0].error)) == (1, "KeyError"), "a message may quote a record"


async def test_a_lone_record_that_is_too_slow_is_its_lanes_affair(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In company all are to bring less; alone it is waited for."""
    _fail_with(monkeypatch, 1, lambda _: StoreSlow("57014"))
    lanes, asked = await _lanes(store), _named(1)
    assert [type(batch.error) for batch in await _turn(lanes, asked)] == [BatchTooLarge] * LANES
    assert [_verdicts(batch) for batch in await _turn(lanes[:1], asked[:1])] == [["created"]]
    assert [_verdicts(batch) for batch in await _turn(lanes[1:2], asked[1:2])] == [StoreSlow]
    assert [_verdicts(batch) for batch in await _turn(lanes[2:], asked[2:])] == [["created"]]


async def test_an_outage_is_everybodys(postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """All lanes are told, nothing is kept, and the same records go through when the database is back."""
    lanes = await _lanes(postgres)

    async def away(*_: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(PostgresTransaction, "record", away)
        with pytest.raises(StoreUnavailable):
            await _each(lanes)
    again = await _lanes(postgres)
    assert [lane.applied for lane in again] == [0] * LANES
    assert _verdicts((await _each(again))[0]) == ["created", "created"]


async def test_a_commit_without_an_answer_is_looked_up_by_each(
    postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took place: nobody does the work again, and each lane finds its position and answers."""
    commit = worker.store.postgres.commit

    async def silent(connection: sql.Connection) -> None:
        await commit(connection)
        if await _took_place(postgres):
            raise TimeoutError("the answer to COMMIT was lost")

    lanes = await _lanes(postgres)
    monkeypatch.setattr(worker.store.postgres, "commit", silent)
    with pytest.raises(StoreUnavailable, match="COMMIT"):
        await _each(lanes)
    monkeypatch.undo()
    again = await _lanes(postgres)
    assert [lane.applied for lane in again] == [2] * LANES
    assert [verdict(one) for lane in again for one in await lane.answers()].count("created") == LANES + 1


async def test_a_commit_of_a_failed_transaction_is_none(postgres: PostgresStore) -> None:
    """Postgres answers it with ROLLBACK, and raises nothing."""
    async with postgres.session() as connection:
        await connection.execute("BEGIN")
        with pytest.raises(DivisionByZeroError):
            await connection.execute("SELECT 1 / 0")
        with pytest.raises(StoreUnavailable, match="expected COMMIT, got ROLLBACK"):
            await worker.store.postgres.commit(connection)


async def _took_place(postgres: PostgresStore) -> bool:
    async with postgres.session() as connection:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM passport)"))


@pytest.mark.parametrize("ticks", [1, 5, 20])
async def test_a_turn_that_is_cut_off_is_whole_or_not_there(store: Store, ticks: int) -> None:
    """It may be committed all the same: whoever has the lanes next finds it in the ledger, for all lanes or none."""
    lanes = await _lanes(store)
    task = asyncio.create_task(_each(lanes))
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    heirs = await _lanes(store)
    assert {heir.applied for heir in heirs} in ({0}, {2})
    assert [len(await heir.answers()) for heir in heirs] == [heir.applied for heir in heirs]
