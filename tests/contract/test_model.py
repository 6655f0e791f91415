"""Whatever is asked, in whatever batches and company, through whatever crashes: the answers are the plainest run's."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import accumulate

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.world import (
    CATALOGUE,
    GROWTH,
    HARD,
    LINK_BASE,
    MIDNIGHT_MS,
    OPEN,
    PAST_DUE,
    REVOKED,
    REVOKED_MS,
    RIVAL,
    TENANTS,
    UNKNOWN,
    Books,
    Lane,
    ask,
    books_of,
    processor_of,
    verdict,
    wipe,
    with_token,
)
from tests.memory_store import MemoryStore
from tests.workbench import Tenant
from worker.batch.pipeline import TURN_ANSWER_BYTES, decide_all
from worker.domain.timestamps import DAY_MS
from worker.messages.envelope import Record
from worker.messages.events import Answer
from worker.store.database import Database
from worker.store.port import Store
from worker.store.postgres import PostgresStore
from worker.tools.common.catalogue.facts import facts_of

_EXAMPLES = int(os.environ.get("PASSPORT_TEST_EXAMPLES", "60"))
_MANY = settings(
    max_examples=_EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)

# What is asked

_active = st.sampled_from([OPEN, RIVAL, GROWTH, HARD])
_others = st.sampled_from([PAST_DUE, REVOKED, UNKNOWN])
_serials = st.sampled_from(["a", "b", "B", "c", "d", "e", "ü\U0001f50b"])
_keys = st.sampled_from([None, None, "k1", "k2", "schlüssel"])
_jumps = st.sampled_from([0, 0, 0, 0, 0, 1, 1000, 3_600_000, DAY_MS - 1, DAY_MS, DAY_MS + 1])
_origins = st.sampled_from([MIDNIGHT_MS - 1, MIDNIGHT_MS - 2000, REVOKED_MS - 1])
_oddities = st.sampled_from(
    ["another tenant", "tombstone", "not JSON", "token", "read only", "no product", "bad serial", "bad key"]
)


def _odd(draw: st.DrawFn, one: Tenant, number: int, oddity: str) -> Record:
    """A record that some rule may refuse, whatever was asked before."""
    if oddity in ("token", "read only"):
        scope = "passports:write" if oddity == "token" else "passports:read"
        return with_token(ask(one, number, draw(_serials)), one.company_id, scope, MIDNIGHT_MS + DAY_MS)
    if oddity == "another tenant":
        one = draw(_others)
    elif oddity == "no product":
        one = replace(one, product_id=draw(st.sampled_from([PAST_DUE.product_id, "f" * 24])))
    serial = "\n" if oddity == "bad serial" else draw(_serials)
    record = ask(one, number, serial, key="\x7f" if oddity == "bad key" else draw(_keys))
    return record._replace(value={"tombstone": None, "not JSON": b"["}.get(oddity, record.value))


@st.composite
def _record(draw: st.DrawFn, tenants: st.SearchStrategy[Tenant]) -> Record:
    """A record without its time: few GTINs, serials and keys, so that they meet; one GTIN is everybody's."""
    one = draw(tenants)
    number = draw(st.sampled_from([9, *[TENANTS.index(one) + 1] * 3]))
    if draw(st.integers(0, 4)) == 0:
        return _odd(draw, one, number, draw(_oddities))
    return ask(one, number, draw(_serials), key=draw(_keys), confirmOverage=draw(st.booleans()))


@st.composite
def _history(draw: st.DrawFn) -> list[Record]:
    """Records in the order of their times; many of them come again."""
    tenants = st.sampled_from(draw(st.lists(_active, min_size=1, max_size=3)))
    records = draw(st.lists(_record(tenants), min_size=8, max_size=30))
    again = draw(st.lists(st.integers(0, len(records) - 1), max_size=10))
    records += [records[at] for at in again]
    jumps = draw(st.lists(_jumps, min_size=len(records), max_size=len(records)))
    times = accumulate(jumps[1:], initial=draw(_origins))
    return [record._replace(timestamp_ms=at_ms) for record, at_ms in zip(records, times, strict=True)]


@dataclass(frozen=True)
class _Cut:
    """How one batch goes: its size, its partition, what happens to the lane before it, and whether the next joins."""

    size: int
    partition: int
    accident: str
    joined: bool


_accidents = st.sampled_from(["", "", "", "fenced", "crash", "late crash"])
_cuts = st.builds(_Cut, st.integers(1, 12), st.integers(0, 1), _accidents, st.booleans())


_Script = list[tuple[_Cut, list[Record]]]
"""A history in batches."""


@st.composite
def _script(draw: st.DrawFn) -> _Script:
    """A history in batches."""
    history, script = draw(_history()), []
    while history:
        cut = draw(_cuts)
        script.append((cut, history[: cut.size]))
        history = history[cut.size :]
    return script


# How it is run

_Ledger = list[list[Answer]]
"""The answers of each partition."""


class _Crash(Exception):
    pass


async def _crash(lane: Lane, asked: Sequence[Record], *, late: bool) -> None:
    """A batch that dies before its commit, when its facts were read or when all was written."""
    batch = lane.batch(*asked)
    facts = await lane.store.look_up(batch.commands, TURN_ANSWER_BYTES)
    with suppress(_Crash):
        async with lane.store.transaction([batch.expected], batch.commands, facts) as transaction:
            if late:
                created, _, answers = decide_all(batch.commands, facts, LINK_BASE)
                await transaction.record(created, [answers], [batch.stop])
            raise _Crash


async def _plainly(store: Store, script: _Script) -> _Ledger:
    """Record by record, without an accident: the answers that were returned."""
    lanes = [await Lane.open(store, partition) for partition in (0, 1)]
    returned: _Ledger = [[], []]
    for cut, asked in script:
        for record in asked:
            returned[cut.partition] += await lanes[cut.partition].process(record)
    return returned


async def _as_cut(store: Store, script: _Script) -> _Ledger:
    """Batch by batch, alone or two lanes together, through every accident: the answers that were returned."""
    processor = processor_of(store)
    lanes = [await Lane.open(store, partition, processor) for partition in (0, 1)]
    returned: _Ledger = [[], []]
    for group in _groups(script):
        for cut, asked in group:
            if cut.accident.endswith("crash"):
                await _crash(lanes[cut.partition], asked, late=cut.accident == "late crash")
            if cut.accident:
                lanes[cut.partition] = await Lane.open(store, cut.partition, processor)
        answered = await Lane.process_together([(lanes[cut.partition], asked) for cut, asked in group])
        for (cut, _), answers in zip(group, answered, strict=True):
            returned[cut.partition] += answers
    for lane, answers in zip(lanes, returned, strict=True):
        assert await lane.answers() == answers, "the ledger says something else than was returned"
    return returned


def _groups(script: _Script) -> Iterator[_Script]:
    """Batches that go into one transaction: two of different lanes where the first one is joined."""
    script = list(script)
    while script:
        cut = script[0][0]
        joined = len(script) > 1 and cut.joined and script[1][0].partition != cut.partition
        yield script[: 1 + joined]
        del script[: 1 + joined]


def _check_books(books: Books) -> None:
    """Slots are passports, nobody is over quota without a charge, and a GTIN has one owner."""
    companies = [company for company, _, _ in books.passports.values()]
    assert books.slots == {company: companies.count(company) for company in set(companies)}
    assert sum(books.writes.values()) == len(companies)
    assert books.slots.get(HARD.company_id, 0) <= 2
    assert len(books.charges) == max(0, books.slots.get(GROWTH.company_id, 0) - 3)
    assert books.owners == {number: company for (number, _), (company, _, _) in books.passports.items()}


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop for the steps of a synchronous test."""
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        loop.close()


def _memory() -> MemoryStore:
    return MemoryStore(facts_of(CATALOGUE))


@_MANY
@given(_script())
def test_the_answers_of_memory_do_not_depend_on_the_batches(script: _Script) -> None:
    """Nor on crashes, nor on fences."""
    with _loop() as loop:
        plain, cut = _memory(), _memory()
        expected = loop.run_until_complete(_plainly(plain, script))
        assert loop.run_until_complete(_as_cut(cut, script)) == expected
        books = loop.run_until_complete(books_of(plain))
        assert loop.run_until_complete(books_of(cut)) == books
    _check_books(books)


def test_the_answers_of_postgres_are_those_of_memory(furnished_url: str) -> None:
    """In its batches and through its crashes as in memory one by one; so are passports, counters and charges."""

    @settings(_MANY, max_examples=max(1, _EXAMPLES // 2))
    @given(_script())
    def check(script: _Script) -> None:
        memory = _memory()
        expected = loop.run_until_complete(_plainly(memory, script))
        loop.run_until_complete(wipe(furnished_url))
        assert loop.run_until_complete(_as_cut(postgres, script)) == expected
        assert loop.run_until_complete(books_of(postgres)) == loop.run_until_complete(books_of(memory))

    with _loop() as loop:
        postgres = PostgresStore(Database(furnished_url), 2)
        try:
            check()
        finally:
            loop.run_until_complete(postgres.close())


_OUTCOMES = [
    "created",
    "replayed",
    "400 Unreadable command",
    "400 Validation error",
    "401 Unauthorized",
    "402 dpp_hard_block",
    "402 overage_required",
    "402 subscription_inactive",
    "403 Forbidden",
    "404 Product not found",
    "409 gtin_registered",
    "409 serial_exists",
    "422 Idempotency-Key has already been used with a different request body",
    "429 API rate limit",
]


@pytest.mark.long
def test_the_histories_reach_every_outcome() -> None:
    """Otherwise the claims above say less than they seem to."""
    seen: Counter[str] = Counter()

    @settings(_MANY, max_examples=200)
    @given(_script())
    def look(script: _Script) -> None:
        for answers in loop.run_until_complete(_plainly(_memory(), script)):
            seen.update(verdict(answer) for answer in answers)

    with _loop() as loop:
        look()
    assert seen.keys() == set(_OUTCOMES)
