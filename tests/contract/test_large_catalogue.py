"""The largest products that a catalogue may hold: what a batch needs of them is never in memory all at once."""

import tracemalloc
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from tests.benchmark.hostile import largest, largest_catalogue
from tests.contract.world import TOPIC, Lane, verdict
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from worker.batch import pipeline
from worker.messages.envelope import Record
from worker.store import facts
from worker.store.database import Database
from worker.store.partitions import ensure_days
from worker.store.port import BatchTooLarge
from worker.store.postgres import PostgresStore
from worker.tools.catalogue.load import load_catalogue
from worker.tools.common.migrating import migrate

PRODUCTS = 60
MIB = 1024 * 1024
NOW_MS = 1_778_320_800_000


@pytest_asyncio.fixture
async def store(servers: Infrastructure) -> AsyncIterator[PostgresStore]:
    """A store with the largest products, 23 MB of them."""
    async with fresh_database(servers.database_url) as url:
        connection = await asyncpg.connect(url)
        await migrate(connection)
        await ensure_days(connection)
        await load_catalogue(connection, largest_catalogue(PRODUCTS))
        await connection.close()
        store = PostgresStore(Database(url), 2)
        yield store
        await store.close()


def _records(amount: int, prefix: str) -> list[Record]:
    asked = largest(amount, PRODUCTS, 1, prefix, odd=False)
    return [Record(TOPIC, 0, 0, NOW_MS, None, one.value, one.headers) for one in asked]


async def test_products_are_measured_before_they_are_fetched(store: PostgresStore) -> None:
    """All of them together are too much, one alone never is. Seen to fail while they were fetched and then measured."""
    lane = await Lane.open(store)
    assert [verdict(one) for one in await lane.process(*_records(1, "warm"))] == ["created"]
    commands = lane.batch(*_records(PRODUCTS // 2, "all")).commands
    tracemalloc.start()
    try:
        with pytest.raises(BatchTooLarge):
            await store.look_up(commands, 4 * MIB)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()
    assert len((await store.look_up(commands[:9], 4 * MIB)).products) == 9
    assert len((await store.look_up(commands[:1], 1)).products) == 1


async def test_products_of_one_template_are_measured_as_they_are_seeded(store: PostgresStore) -> None:
    """Each has all of the template's fields, which were fetched once. Seen to fail with no bound on what is made."""
    async with store.session() as connection:
        await connection.execute(
            "UPDATE product SET template_id = (SELECT min(template_id) FROM product), default_field_values = '{}'"
        )
    lane = await Lane.open(store)
    commands = lane.batch(*_records(PRODUCTS // 2, "one")).commands
    with pytest.raises(BatchTooLarge):
        await store.look_up(commands, 5 * MIB)


async def test_replayed_events_are_measured_before_they_are_read(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many small commands may replay large events. Seen to fail while all of them were read and then measured."""
    lane = await Lane.open(store)
    for record in _records(6, "key"):
        await lane.process(record)
    monkeypatch.setattr(facts, "REPLAYED_BYTES", 2 * MIB)
    with pytest.raises(BatchTooLarge):
        await lane.process(*_records(6, "key"))
    assert [verdict(one) for one in await lane.process(*_records(5, "key"))] == ["replayed"] * 5
    monkeypatch.setattr(facts, "REPLAYED_BYTES", 1)
    assert [verdict(one) for one in await lane.process(*_records(1, "key"))] == ["replayed"]


async def test_a_lane_with_too_large_answers_is_told_before_its_transaction(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the sizes of records and products. Seen to fail without `_size_ahead`: it had taken locks by then."""
    lane = await Lane.open(store)
    monkeypatch.setattr(pipeline, "TURN_ANSWER_BYTES", 700_000)
    monkeypatch.setattr(PostgresStore, "transaction", None)
    with pytest.raises(BatchTooLarge):
        await lane.process(*_records(1, "a"), *_records(1, "b"))


async def test_answers_that_are_larger_than_the_catalogue_tells_are_too_much_as_well(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passports that are replayed are as large as their products were. Seen to fail without a look at the answers."""
    lane = await Lane.open(store)
    for record in _records(2, "old"):
        await lane.process(record)
    async with store.session() as connection:
        await connection.execute("UPDATE product SET default_field_values = '{}'")
        await connection.execute("UPDATE template SET fields = '[]'")
        await connection.execute("UPDATE company SET prefill = '{}'")
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "TURN_ANSWER_BYTES", 700_000)
        with pytest.raises(BatchTooLarge):
            await lane.process(*_records(2, "old"))
    assert [verdict(one) for one in await lane.process(*_records(2, "old"))] == ["replayed"] * 2
