"""Many lanes at once over one database, and what happens when somebody gets in their way."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.contract.world import (
    GROWTH,
    HARD,
    MIDNIGHT_MS,
    NOW_MS,
    OPEN,
    RIVAL,
    Lane,
    ask,
    books_of,
    furnish,
    until_waiting,
    verdict,
)
from tests.workbench import gtin
from worker.batch import recovery
from worker.domain.timestamps import utc_day
from worker.messages.envelope import Record
from worker.messages.events import Answer
from worker.store.database import Database
from worker.store.port import BatchTooLarge, LostLane, StoreUnavailable
from worker.store.postgres import SESSION_SETTINGS, PostgresStore
from worker.store.sql import Connection
from worker.store.transaction import PostgresTransaction

LANES = 6
RECORDS = 120
BATCH = 20


@pytest_asyncio.fixture
async def rogue(furnished_url: str) -> AsyncIterator[Connection]:
    """Somebody else who writes to the same database."""
    connection = await asyncpg.connect(furnished_url)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def impatient(
    postgres: PostgresStore, furnished_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PostgresStore]:
    """A store that waits for no lock for long."""
    monkeypatch.setitem(SESSION_SETTINGS, "lock_timeout", "50ms")
    store = PostgresStore(Database(furnished_url), 2)
    yield store
    await store.close()


def _before(monkeypatch: pytest.MonkeyPatch, step: str, act: Callable[[int], Awaitable[None]]) -> list[int]:
    """Let somebody act before a step of each transaction; the numbers of the transactions that came so far."""
    original: Any = getattr(PostgresTransaction, step)
    numbers: list[int] = []

    async def meddled(batch: PostgresTransaction, *arguments: Any) -> Any:
        numbers.append(len(numbers) + 1)
        await act(numbers[-1])
        return await original(batch, *arguments)

    monkeypatch.setattr(PostgresTransaction, step, meddled)
    return numbers


async def _nothing(_: int) -> None:
    """Only count."""


# Many lanes


def _asked(lane: int) -> list[Record]:
    """The same companies, GTINs and keys for every lane, in an order of its own; a key means the same body in all."""
    random = Random(lane)
    records = []
    for _ in range(RECORDS):
        one, number = random.choice((OPEN, RIVAL, GROWTH, HARD)), random.randrange(8)
        serial = f"{number}-{random.randrange(12)}"
        at_ms = NOW_MS if random.random() < 0.7 else MIDNIGHT_MS
        key = serial if random.random() < 0.5 else None
        records.append(ask(one, number, serial, key=key, at_ms=at_ms, confirmOverage=True))
    random.shuffle(records)
    return records


async def _run(store: PostgresStore, partition: int) -> list[Answer]:
    lane = await Lane.open(store, partition)
    asked = _asked(partition)
    for start in range(0, RECORDS, BATCH):
        await lane.process(*asked[start : start + BATCH])
    return await lane.answers()


async def test_lanes_share_companies_gtins_and_keys(postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody runs into a deadlock, no quota is passed, and what holds for one batch holds for all of them."""
    tries = _before(monkeypatch, "gather", _nothing)
    async with asyncio.timeout(60):
        lanes = await asyncio.gather(*(_run(postgres, partition) for partition in range(LANES)))
    assert len(tries) == LANES * RECORDS // BATCH
    assert [len(answers) for answers in lanes] == [RECORDS] * LANES
    answers = [answer for answers in lanes for answer in answers]
    assert not [answer for answer in answers if answer.dead_letter is not None]
    counted = Counter(verdict(answer) for answer in answers)
    assert {"created", "replayed", "409 serial_exists", "409 gtin_registered"} <= counted.keys()
    assert {"429 API rate limit", "402 dpp_hard_block"} <= counted.keys()
    _check_keys(answers)
    await _check_books(postgres, [answer for answer in answers if verdict(answer) == "created"])


def _check_keys(answers: list[Answer]) -> None:
    """A key of a company created one passport; its replays have the same bytes, wherever they came in."""
    by_key = defaultdict(list)
    for answer in answers:
        if answer.passport_id is not None and ":" not in answer.key:
            by_key[answer.company_id, answer.key].append(answer)
    for bound in by_key.values():
        assert [answer.replayed for answer in bound].count(False) == 1
        assert len({(answer.passport_id, answer.value) for answer in bound}) == 1


async def _check_books(store: PostgresStore, created: list[Answer]) -> None:
    """Counters equal rows, created answers equal passports, and limits hold."""
    books = await books_of(store)
    rows = books.passports
    assert {(passport, body) for _, passport, body in rows.values()} == {
        (one.passport_id, one.value) for one in created
    }
    assert len(created) == len(rows)
    assert books.slots == Counter(company for company, _, _ in rows.values())
    assert books.writes == Counter((one.company_id, utc_day(one.appended_ms)) for one in created)
    assert {(number, company) for (number, _), (company, _, _) in rows.items()} == set(books.owners.items())
    assert books.slots[HARD.company_id] == 2
    assert len(books.charges) == books.slots[GROWTH.company_id] - 3
    assert max(count for (company, _), count in books.writes.items() if company == GROWTH.company_id) == 4


async def test_lanes_meet_at_the_same_new_gtins(
    postgres: PostgresStore, rogue: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Companies that share nothing else claim the same GTINs in opposite orders: one owner each, and no deadlock."""
    tries = _before(monkeypatch, "gather", _nothing)
    companies, numbers = (OPEN, RIVAL), range(1, 41)
    lanes = [await Lane.open(postgres, partition) for partition in range(2)]
    async with asyncio.timeout(30):
        held = rogue.transaction()
        await held.start()
        await rogue.execute("INSERT INTO gtin_registration VALUES ($1, 'rogue')", gtin(20))
        claims = [
            asyncio.create_task(lane.verdicts(*(ask(one, number, one.company_id) for number in order)))
            for lane, one, order in zip(lanes, companies, (numbers, reversed(numbers)), strict=True)
        ]
        await until_waiting(rogue, len(lanes))  # each holds what it has claimed so far
        await held.rollback()
        first, second = await asyncio.gather(*claims)
    assert len(tries) == len(lanes)
    assert Counter(first + second) == {"created": len(numbers), "409 gtin_registered": len(numbers)}
    books = await books_of(postgres)
    assert books.owners == {number: company for (number, _), (company, _, _) in books.passports.items()}
    assert len(books.owners) == len(numbers)


async def test_lanes_meet_at_gtins_of_several_companies(
    postgres: PostgresStore, rogue: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GTINs are claimed in their own order, whichever company each of them is for: no deadlock here either."""
    tries = _before(monkeypatch, "gather", _nothing)
    first, second, third, fourth = sorted((OPEN, RIVAL, GROWTH, HARD), key=lambda tenant: tenant.company_id)
    lanes = [await Lane.open(postgres, partition) for partition in range(2)]
    turns = [(ask(first, 3), ask(first, 1), ask(second, 2)), (ask(third, 2), ask(third, 1), ask(fourth, 3))]
    async with asyncio.timeout(30):
        held = rogue.transaction()
        await held.start()
        await rogue.execute("INSERT INTO gtin_registration VALUES ($1, 'rogue')", gtin(1))
        claims = [asyncio.create_task(lane.verdicts(*asked)) for lane, asked in zip(lanes, turns, strict=True)]
        await until_waiting(rogue, len(lanes))  # by company, one would hold the third GTIN now and the other the second
        await held.rollback()
        verdicts = await asyncio.gather(*claims)
    assert len(tries) == len(lanes)
    assert sorted(verdicts) == [["409 gtin_registered"] * 3, ["created"] * 3]


async def test_one_slot_is_given_once(postgres: PostgresStore) -> None:
    """Six lanes ask for two slots: two get one."""
    lanes = [await Lane.open(postgres, partition) for partition in range(LANES)]
    verdicts = await asyncio.gather(*(lane.verdicts(ask(HARD, 1, str(at))) for at, lane in enumerate(lanes)))
    counted = Counter(one for [one] in verdicts)
    assert counted == {"created": 2, "402 dpp_hard_block": LANES - 2}


async def test_one_key_is_bound_once(postgres: PostgresStore) -> None:
    """Six lanes get the same command: one creates, five repeat it."""
    lanes = [await Lane.open(postgres, partition) for partition in range(LANES)]
    answers = await asyncio.gather(*(lane.process(ask(OPEN, key="k")) for lane in lanes))
    assert Counter(answer.replayed for [answer] in answers) == {False: 1, True: LANES - 1}
    assert len({(answer.passport_id, answer.value) for [answer] in answers}) == 1


# Somebody in the way


async def _take(rogue: Connection, company_id: str) -> None:
    await rogue.execute(
        "UPDATE company_usage SET slots_used = slots_used FROM company c WHERE c.number = company_number AND c.id = $1",
        company_id,
    )


async def test_a_deadlock_is_run_again(
    postgres: PostgresStore, rogue: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is the victim, and succeeds when the other one is done."""
    first, second = sorted((OPEN.company_id, RIVAL.company_id))
    lane = await Lane.open(postgres)
    tries = _before(monkeypatch, "gather", _nothing)
    await rogue.execute("SET deadlock_timeout = '1min'")
    async with rogue.transaction():
        await _take(rogue, second)
        batch = asyncio.create_task(lane.verdicts(ask(OPEN), ask(RIVAL, 2)))
        await until_waiting(rogue)
        await _take(rogue, first)
    assert await batch == ["created", "created"]
    assert len(tries) == 2


ROGUE = bytes(range(12))


async def _insert_passport(rogue: Connection) -> None:
    await rogue.execute(
        "INSERT INTO passport SELECT now(), $1, number, $3, 's', '' FROM company WHERE id = $2",
        *(ROGUE, OPEN.company_id, gtin(1)),
    )


async def test_facts_that_another_writer_overtakes_are_read_again(
    postgres: PostgresStore, rogue: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A serial that comes to be between facts and effects is a conflict in the end, and no dead letter."""

    async def act(number: int) -> None:
        if number == 1:
            await _insert_passport(rogue)

    tries = _before(monkeypatch, "record", act)
    lane = await Lane.open(postgres)
    answers = await lane.process(ask(RIVAL, 2), ask(OPEN), ask(OPEN, serial="t"))
    assert [verdict(answer) for answer in answers] == ["created", "409 serial_exists", "created"]
    assert b'"passportId":"%b"' % ROGUE.hex().encode() in answers[1].value
    assert answers[1].dead_letter is None
    assert len(tries) == 2


async def test_facts_that_are_overtaken_every_time_refuse_one_record(
    postgres: PostgresStore, rogue: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A constraint that fires for ever, for whatever reason, does not stop the lane."""
    monkeypatch.setattr(recovery, "_ATTEMPTS", 2)
    lane = await Lane.open(postgres)

    async def act(_: int) -> None:
        await rogue.execute("DELETE FROM passport WHERE id = $1", ROGUE)
        await _insert_passport(rogue)

    async def hide(batch: PostgresTransaction, *arguments: Any) -> Any:
        await rogue.execute("DELETE FROM passport WHERE id = $1", ROGUE)
        return await gather(batch, *arguments)

    gather = PostgresTransaction.gather
    monkeypatch.setattr(PostgresTransaction, "gather", hide)
    _before(monkeypatch, "record", act)
    assert await lane.verdicts(ask(RIVAL, 2), ask(OPEN)) == ["created", "400 Unreadable command"]


async def test_a_lock_that_is_not_had_in_time_is_asked_for_again(
    impatient: PostgresStore, rogue: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try finds it free."""
    lane = await Lane.open(impatient)
    held = rogue.transaction()
    await held.start()
    await _take(rogue, OPEN.company_id)

    async def act(number: int) -> None:
        if number == 2:
            await held.rollback()

    tries = _before(monkeypatch, "gather", act)
    assert await lane.verdicts(ask(OPEN)) == ["created"]
    assert len(tries) == 2


async def test_a_lock_that_is_never_had_refuses_nobody(
    impatient: PostgresStore, rogue: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds it, it is not the records' fault: the lane opens again, and goes on when it is free."""
    monkeypatch.setattr(recovery, "_ATTEMPTS", 2)
    lane = await Lane.open(impatient)
    asked = [ask(OPEN), ask(RIVAL, 2)]
    async with rogue.transaction():
        await _take(rogue, OPEN.company_id)
        with pytest.raises(StoreUnavailable):
            await lane.process(*asked)
    lane = await Lane.open(impatient)
    assert await lane.answers() == []
    assert await lane.verdicts(*asked) == ["created", "created"]


@pytest.mark.parametrize("end", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_a_session_that_is_ended_by_an_operator_refuses_nobody(
    postgres: PostgresStore, rogue: Connection, end: str
) -> None:
    """A cancelled statement, like a lost session, rolls all back; the lane brings less, or opens again."""
    lane = await Lane.open(postgres)
    asked = [ask(RIVAL, 2), ask(OPEN)]
    async with rogue.transaction():
        await _take(rogue, OPEN.company_id)
        batch = asyncio.create_task(lane.process(*asked))
        await rogue.execute(f"SELECT {end}($1)", await until_waiting(rogue))
        with pytest.raises(BatchTooLarge if end == "pg_cancel_backend" else StoreUnavailable):
            await batch
    lane = await Lane.open(postgres)
    assert lane.applied == 0
    assert await lane.verdicts(*asked) == ["created", "created"]


async def test_a_batch_that_is_cancelled_leaves_nothing_behind(postgres: PostgresStore, rogue: Connection) -> None:
    """A lane that is cut off in the middle frees its locks, and the next owner begins where it began."""
    lane = await Lane.open(postgres)
    async with rogue.transaction():
        await _take(rogue, RIVAL.company_id)
        batch = asyncio.create_task(lane.process(ask(OPEN), ask(RIVAL, 2)))
        await until_waiting(rogue)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
    lane = await Lane.open(postgres)
    assert lane.applied == 0
    assert await lane.verdicts(ask(OPEN), ask(RIVAL, 2)) == ["created", "created"]


async def test_a_fence_waits_for_the_batch_in_flight(
    postgres: PostgresStore, rogue: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new owner sees all of it, and the old one gets no further."""
    old = await Lane.open(postgres)
    fences: list[asyncio.Task[Lane]] = []

    async def act(_: int) -> None:
        fences.append(asyncio.create_task(Lane.open(postgres)))
        await until_waiting(rogue)

    _before(monkeypatch, "record", act)
    answers = await old.process(ask(OPEN))
    new = await fences[0]
    assert (new.applied, await new.answers()) == (1, answers)
    with pytest.raises(LostLane):
        await old.process(ask(OPEN, serial="t"))


async def test_an_empty_database_is_no_reason_to_refuse(database_url: str) -> None:
    """Tables that are not there yet are waited for like a database that is away."""
    store = PostgresStore(Database(database_url), 2)
    with pytest.raises(StoreUnavailable):
        await Lane.open(store)
    await furnish(database_url)
    assert await (await Lane.open(store)).verdicts(ask(OPEN)) == ["created"]
    await store.close()
