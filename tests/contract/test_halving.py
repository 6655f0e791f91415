"""A record that cannot be processed is found and refused, its neighbours never notice, and an outage refuses nobody."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

import worker.processing
from tests.contract.world import CATALOGUE, GROWTH, OPEN, RIVAL, Lane, ask, books_of, facts_of, verdict
from worker.domain.command import Command, CreatePassport
from worker.domain.decide import decide
from worker.domain.facts import Facts
from worker.domain.outcomes import Outcome
from worker.messages.envelope import Record
from worker.messages.events import Answer
from worker.store.days import ensure_days
from worker.store.failures import meaning_of
from worker.store.memory import MemoryBatch, MemoryStore
from worker.store.port import BadRecord, LostLane, Overtaken, Position, Store, StoreAway, TryAgain
from worker.store.postgres import PostgresBatch, PostgresStore

POISON = "poison"
_TRIGGER = f"""
CREATE OR REPLACE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'cannot be stored' USING ERRCODE = '22000';
END $$;
CREATE OR REPLACE TRIGGER refuse_poison BEFORE INSERT ON passport
    FOR EACH ROW WHEN (NEW.serial = '{POISON}') EXECUTE FUNCTION refuse_poison();
"""


@pytest_asyncio.fixture
async def allergic(postgres: PostgresStore) -> AsyncIterator[PostgresStore]:
    """A store whose database raises a data error for one serial number."""
    async with postgres.session() as connection:
        await connection.execute(_TRIGGER)
    yield postgres
    async with postgres.session() as connection:
        await connection.execute("DROP TRIGGER refuse_poison ON passport")


def _poison() -> Record:
    headers = [("X-Trace", b"1"), ("x-null", None), ("X-Trace", b"2")]
    return ask(OPEN, 9, POISON, key="poisoned", headers=headers)


def _good(count: int = 50) -> list[Record]:
    """Records that see each other: keys that are replayed, serials that are taken, slots that run out."""
    kinds = [
        lambda at: ask(OPEN, 1, f"s{at // 10}", key=f"k{at // 10}"),
        lambda at: ask(RIVAL, at % 3, f"s{at % 7}"),
        lambda at: ask(GROWTH, 5, f"s{at}", confirmOverage=at > 30),
        lambda at: replace(ask(OPEN), value=b"{" * (at + 1)),
        lambda at: ask(OPEN, 7, f"s{at}"),
    ]
    return [kinds[at % len(kinds)](at) for at in range(count)]


async def _answers_without(good: Sequence[Record], at: Sequence[int]) -> list[Answer]:
    """What the good ones are answered where tombstones stand in for the poisoned ones."""
    lane = await Lane.open(MemoryStore(facts_of(CATALOGUE)))
    return await lane.process(*_with_poison(good, at, replace(ask(OPEN), value=None)))


def _with_poison(good: Sequence[Record], at: Sequence[int], poison: Record) -> list[Record]:
    """Poison at these places; a rival is the last, and wants the GTIN of the poisoned ones."""
    records = list(good)
    for position in at:
        records.insert(position, poison)
    return [*records, ask(RIVAL, 9)]


def _check_refused(answer: Answer, record: Record) -> None:
    assert verdict(answer) == "400 Unreadable command"
    assert (answer.key, answer.company_id) == ("poisoned", None)
    letter = answer.dead_letter
    assert letter is not None
    assert (letter.reason, letter.key, letter.value) == ("processing-failed", record.key, record.value)
    assert list(letter.headers) == [header for header in record.headers if header[0] != "authorization"]
    assert len(letter.headers) == len(record.headers) - 1


@pytest.mark.parametrize("at", [[0], [17], [50], [24, 26], [3, 4, 5, 40]], ids=str)
async def test_one_record_that_the_database_refuses_harms_no_other(allergic: PostgresStore, at: list[int]) -> None:
    """It gets a refusal and a dead letter; all others get, byte for byte, what they would get without it."""
    lane = await Lane.open(allergic)
    answers = await lane.process(*_with_poison(_good(), at, _poison()))
    expected = await _answers_without(_good(), at)
    for position, (answer, without) in enumerate(zip(answers, expected, strict=True)):
        if position in at:
            _check_refused(answer, _poison())
        else:
            assert answer == without
    assert await lane.answers() == answers
    assert verdict(answers[-1]) == "created"
    assert await allergic.position(lane.hold) == Position(len(answers), 0, 0)


async def test_a_refused_record_leaves_nothing_behind(allergic: PostgresStore) -> None:
    """Neither its key nor its GTIN nor a slot is taken."""
    lane = await Lane.open(allergic)
    before = await books_of(allergic)
    assert await lane.verdicts(_poison()) == ["400 Unreadable command"]
    assert await books_of(allergic) == before
    assert await lane.verdicts(ask(RIVAL, 9), ask(OPEN, 6, key="poisoned")) == ["created", "created"]


@pytest.mark.parametrize("at", [[0], [17, 31], [50]], ids=str)
async def test_a_defect_that_one_record_brings_out_harms_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch, at: list[int]
) -> None:
    """Where our own code fails on a record, it is the one that is refused."""
    expected = await _answers_without(_good(), at)
    monkeypatch.setattr(worker.processing, "decide", _decide_badly)
    lane = await Lane.open(store)
    answers = await lane.process(*_with_poison(_good(), at, _poison()))
    for position, (answer, without) in enumerate(zip(answers, expected, strict=True)):
        if position in at:
            _check_refused(answer, _poison())
        else:
            assert answer == without
    assert await lane.answers() == answers


async def test_a_lone_record_that_fails_once_is_not_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that passes is nobody's fault: only what fails by itself and again is refused."""
    failures = [ZeroDivisionError()]

    def decide_badly_once(command: Command, facts: Facts) -> Outcome:
        if failures:
            raise failures.pop()
        return decide(command, facts)

    monkeypatch.setattr(worker.processing, "decide", decide_badly_once)
    lane = await Lane.open(store)
    assert await lane.verdicts(ask(OPEN, 9)) == ["created"]


async def test_an_answer_that_fits_into_no_topic_is_refused_before_it_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the ledger it would stop the lane for ever: it could never be emitted."""
    monkeypatch.setattr(worker.processing, "ANSWER_BYTES", 900)
    lane = await Lane.open(store)
    long = ask(OPEN, 9, "\U0001f50b" * 100)
    assert await lane.verdicts(ask(OPEN, 9), long) == ["created", "400 Unreadable command"]


async def test_too_much_for_one_batch_leaves_nothing_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """All answers of a batch are in memory at once, so the lane comes again with fewer; a single one always passes."""
    monkeypatch.setattr(worker.processing, "BATCH_BYTES", 1000)
    lane = await Lane.open(store)
    with pytest.raises(worker.processing.BatchTooLarge):
        await lane.process(ask(OPEN, 9, "a"), ask(OPEN, 9, "b"), ask(OPEN, 9, "c"))
    monkeypatch.setattr(worker.processing, "BATCH_BYTES", 1)
    assert await lane.verdicts(ask(OPEN, 9, "a")) == ["created"]


def _decide_badly(command: Command, facts: Facts) -> Outcome:
    if isinstance(command.body, CreatePassport) and command.body.serial == POISON:
        raise ZeroDivisionError
    return decide(command, facts)


_OUTAGES = [
    ConnectionResetError(),
    TimeoutError(),
    asyncpg.ConnectionDoesNotExistError("gone"),
    asyncpg.InterfaceError("closed"),
    asyncpg.AdminShutdownError("57P01"),
    asyncpg.DiskFullError("53100"),
]


@pytest.mark.parametrize("outage", _OUTAGES, ids=lambda outage: type(outage).__name__)
@pytest.mark.parametrize("after_effects", [False, True], ids=["before effects", "after effects"])
async def test_an_outage_refuses_nobody(
    postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch, outage: Exception, after_effects: bool
) -> None:
    """The lane is told, nothing is kept, and the same batch goes through when the database is back."""
    lane = await Lane.open(postgres)
    before = await books_of(postgres)
    work = lane.work(ask(OPEN), ask(RIVAL, 2))
    with monkeypatch.context() as patched:
        patched.setattr(PostgresBatch, "record", _failing(outage, after_effects))
        with pytest.raises(StoreAway):
            await lane.processor.process(work)
    lane = await Lane.open(postgres)
    assert lane.applied == 0
    assert await books_of(postgres) == before
    assert await lane.verdicts(*work.records) == ["created", "created"]


def _failing(error: Exception, after_effects: bool) -> Any:
    record = PostgresBatch.record

    async def failing(batch: PostgresBatch, *arguments: Any) -> None:
        if after_effects:
            await record(batch, *arguments)
        raise error

    return failing


@pytest.mark.parametrize("error", [StoreAway("away"), LostLane("lost")], ids=repr)
async def test_what_the_store_says_of_itself_refuses_nobody(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Whatever the store is: an outage or a lost lane is not the records' fault."""

    async def failing(*_: object) -> None:
        raise error

    lane = await Lane.open(MemoryStore(facts_of(CATALOGUE)))
    monkeypatch.setattr(MemoryBatch, "record", failing)
    with pytest.raises(type(error)):
        await lane.process(*_good(3))
    assert await lane.answers() == []


async def test_an_outage_between_the_halves_keeps_the_first(
    allergic: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed before stays, with its answers; the lane opens again behind it."""
    record = PostgresBatch.record
    lane = await Lane.open(allergic)
    work = lane.work(ask(OPEN), ask(OPEN, 2), _poison(), ask(OPEN, 3))

    async def failing(batch: PostgresBatch, created: Any, answers: Any, positions: Any) -> None:
        if len(answers[0]) == 2 and positions == [work.stop]:
            raise ConnectionResetError
        await record(batch, created, answers, positions)

    with monkeypatch.context() as patched:
        patched.setattr(PostgresBatch, "record", failing)
        with pytest.raises(StoreAway):
            await lane.processor.process(work)
    again = await Lane.open(allergic)
    assert [verdict(answer) for answer in await again.answers()] == ["created", "created"]
    assert await again.verdicts(*work.records[2:]) == ["400 Unreadable command", "created"]


async def test_a_missing_day_refuses_nobody(postgres: PostgresStore) -> None:
    """A ledger without a partition for today is the database's lack, and over when the day is made."""
    lane = await Lane.open(postgres)
    work = lane.work(*_good(4))
    async with postgres.session() as connection:
        days = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ledger'::regclass"
        for (name,) in await connection.fetch(days):
            await connection.execute(f"DROP TABLE {name}")
    try:
        with pytest.raises(StoreAway):
            await lane.processor.process(work)
    finally:
        async with postgres.session() as connection:
            await ensure_days(connection)
    lane = await Lane.open(postgres)
    assert (await lane.verdicts(*work.records))[0] == "created"


_MEANINGS = {
    TryAgain: "40001 40P01 55P03",
    BadRecord: "21000 22000 22003 22021 22P02 22P05 23502 23503 54000 54023",
    StoreAway: (
        "08000 08001 08003 08004 08006 08P01 25006 25P02 25P03 28P01 3D000 40003 42501 42P01 42703 "
        "53000 53100 53200 53300 57000 57014 57P01 57P02 57P03 58030 XX000 P0001 23514"
    ),
}


@pytest.mark.parametrize(
    ("sqlstate", "meaning"), [(code, meaning) for meaning, codes in _MEANINGS.items() for code in codes.split()]
)
def test_sqlstates_mean_what_the_batch_should_do(sqlstate: str, meaning: type[Exception]) -> None:
    """Run again, narrow down, or wait for the database."""
    assert type(meaning_of(_database_error(sqlstate))) is meaning


def _database_error(sqlstate: str, constraint: str | None = None) -> Exception:
    fields = {"S": "ERROR", "C": sqlstate, "M": "message"} | ({"n": constraint} if constraint else {})
    error: Exception = asyncpg.PostgresError.new(fields)
    return error


@pytest.mark.parametrize(
    ("sqlstate", "constraint", "meaning"),
    [
        ("23505", "passport_gtin_serial_key", Overtaken),
        ("23505", "gtin_registration_gtin_key", Overtaken),
        ("23505", "passport_id_key", BadRecord),
        ("23514", "passport_serial_check", BadRecord),
    ],
)
def test_constraints_tell_a_race_from_bad_data(sqlstate: str, constraint: str, meaning: type[Exception]) -> None:
    """Two of them can be tripped by another writer after the facts were read."""
    assert type(meaning_of(_database_error(sqlstate, constraint))) is meaning


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.InterfaceError("pool is closed"),
        asyncpg.InternalClientError("unexpected message"),
    ],
    ids=repr,
)
def test_a_lost_connection_means_to_wait(error: Exception) -> None:
    """Whoever noticed it: the operating system, a deadline, or the driver."""
    assert type(meaning_of(error)) is StoreAway


@pytest.mark.parametrize(
    "error", [LostLane(), StoreAway(), TryAgain(), Overtaken(), BadRecord(), KeyError("defect")], ids=repr
)
def test_other_failures_mean_what_they_are(error: Exception) -> None:
    """Those of the port, and defects of our own code."""
    assert meaning_of(error) is error
