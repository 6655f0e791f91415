"""Idempotency keys are kept by day, and whoever asks for a key of the last 24 hours finds it, on whatever day it is."""

from datetime import UTC, date, datetime, timedelta

import pytest

from tests.contract.world import CATALOGUE, OPEN, Lane, ask, now_ms_of
from tests.memory_store import MemoryStore
from tests.workbench import make_past_day
from worker.domain.timestamps import DAY_MS, HOUR_MS, utc_day
from worker.store import sql
from worker.store.port import ExpectedPosition
from worker.store.postgres import PostgresStore
from worker.tools.common.catalogue.facts import facts_of

_FIRST_DAY = date(1970, 1, 1)


async def _days_of_keys(store: PostgresStore) -> list[int]:
    """Days since the epoch."""
    async with store.session() as connection:
        rows = await connection.fetch("SELECT day FROM idempotency_key ORDER BY day")
    return [(row["day"] - _FIRST_DAY).days for row in rows]


@pytest.mark.parametrize(
    ("ahead_ms", "days_from_today"),
    [(-2000 * DAY_MS, 0), (-DAY_MS, 0), (0, 0), (DAY_MS, 1), (5 * DAY_MS, 1)],
    ids=["back-fill", "backlog", "now", "clock a day ahead", "clock days ahead"],
)
async def test_a_key_is_found_again_whatever_the_clock_of_its_record(
    postgres: PostgresStore, ahead_ms: int, days_from_today: int
) -> None:
    """Kept by the day of the database, or by its own where that is later, but tomorrow at most. It binds 24 h."""
    now_ms = await now_ms_of(postgres)
    lane, at_ms = await Lane.open(postgres), now_ms + ahead_ms
    assert await lane.verdicts(ask(OPEN, key="k", at_ms=at_ms)) == ["created"]
    assert await _days_of_keys(postgres) == [utc_day(now_ms) + days_from_today]
    asked = [ask(OPEN, key="k", at_ms=at_ms + later) for later in (0, DAY_MS - 1, DAY_MS)]
    assert [(await lane.verdicts(one))[0] for one in asked] == ["replayed", "replayed", "409 serial_exists"]


@pytest.mark.parametrize("ahead_ms", [0, 5 * DAY_MS], ids=["now", "clock days ahead"])
async def test_a_key_of_yesterday_is_found_today(postgres: PostgresStore, ahead_ms: int) -> None:
    """Also by a batch whose oldest record is of today, or of a day that is still to come."""
    now_ms = await now_ms_of(postgres)
    lane, at_ms = await Lane.open(postgres), now_ms + ahead_ms
    await lane.process(ask(OPEN, key="k", at_ms=at_ms - 24 * HOUR_MS + 1000))
    async with postgres.session() as connection:
        await connection.execute("UPDATE idempotency_key SET day = (now() AT TIME ZONE 'UTC')::date - 1")
    assert await lane.verdicts(ask(OPEN, key="k", at_ms=at_ms)) == ["replayed"]


async def test_a_key_is_found_however_late_its_next_command_is_processed(postgres: PostgresStore) -> None:
    """A lane that is days behind looks back from the time of its records, and not from today."""
    now_ms = await now_ms_of(postgres)
    lane, at_ms = await Lane.open(postgres), now_ms - 3 * DAY_MS
    await lane.process(ask(OPEN, key="k", at_ms=at_ms))
    old = _FIRST_DAY + timedelta(days=utc_day(at_ms))
    async with postgres.session() as connection:
        await make_past_day(connection, "idempotency_key", old)
        await connection.execute("UPDATE idempotency_key SET day = $1", old)
    try:
        assert await lane.verdicts(ask(OPEN, key="k", at_ms=at_ms + DAY_MS - 1)) == ["replayed"]
    finally:
        async with postgres.session() as connection:
            await connection.execute(f"DROP TABLE idempotency_key_{old:%Y%m%d}")


async def test_of_two_days_the_later_binding_counts(postgres: PostgresStore) -> None:
    """A key that is bound again after 24 hours has a row in each of both days."""
    now_ms = await now_ms_of(postgres)
    lane = await Lane.open(postgres)
    first, second = ask(OPEN, key="k", at_ms=now_ms - DAY_MS), ask(OPEN, serial="t", key="k", at_ms=now_ms)
    await lane.process(first)
    async with postgres.session() as connection:
        await connection.execute("UPDATE idempotency_key SET day = day - 1")
    assert await lane.verdicts(second, second) == ["created", "replayed"]
    assert await _days_of_keys(postgres) == [utc_day(now_ms) - 1, utc_day(now_ms)]
    assert await lane.verdicts(second) == ["replayed"]


async def test_of_two_lanes_the_later_binding_counts(postgres: PostgresStore) -> None:
    """`recover` writes what was published lane after lane, and may write the older binding last."""
    now_ms, published = await now_ms_of(postgres), MemoryStore(facts_of(CATALOGUE))
    asked = ask(OPEN, key="k", at_ms=now_ms - DAY_MS), ask(OPEN, serial="t", key="k", at_ms=now_ms)
    lanes = [await Lane.open(published, partition) for partition in range(2)]
    answers = [await lane.process(record) for lane, record in zip(lanes, asked, strict=True)]
    for partition in (1, 0):
        token = (await Lane.open(postgres, partition)).token
        created = [published.passports[partition]]
        async with postgres.transaction([ExpectedPosition(token, 0, 0)]) as transaction:
            await transaction.reserve(created)
            await transaction.record(created, [answers[partition]], [1])
    assert await _days_of_keys(postgres) == [utc_day(now_ms)]
    (replayed,) = await (await Lane.open(postgres, 2)).process(asked[1])
    assert (replayed.replayed, replayed.value) == (True, answers[1][0].value)


async def test_days_before_yesterday_are_not_opened(postgres: PostgresStore) -> None:
    """A look-up of fresh records costs the same however many days of keys there are."""
    today = datetime.fromtimestamp(await now_ms_of(postgres) / 1000, UTC).date()
    old = today - timedelta(days=2)
    async with postgres.session() as connection:
        await make_past_day(connection, "idempotency_key", old)
        try:
            for back, is_opened in ((1, False), (2, True)):
                first_day = (today - _FIRST_DAY).days - back
                for query, before in (("bindings", ()), ("gather", ([], [], [], [], "", [], "", ""))):
                    key_ids_and_day = (b"k" * 16, first_day, *((1000,) if query == "bindings" else ()))
                    plan = await connection.fetch(f"EXPLAIN {sql.load(query)}", *before, *key_ids_and_day)
                    assert (f"idempotency_key_{old:%Y%m%d}" in str(plan)) is is_opened
                    assert f"idempotency_key_{today:%Y%m%d}" in str(plan)
        finally:
            await connection.execute(f"DROP TABLE idempotency_key_{old:%Y%m%d}")
