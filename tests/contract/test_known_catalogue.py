"""What a worker remembers of the catalogue: never older than the transaction that decides by it."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.contract.world import GROWTH, LIMITS, NOW_MS, OPEN, RIVAL, Lane, ask, furnish, signed, verdict, with_token
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from worker.domain.catalogue import Company, Plan, Product
from worker.domain.seeding import SeededFields
from worker.domain.timestamps import format_ms
from worker.messages.envelope import Record, open_envelope
from worker.store.database import Database
from worker.store.known_catalogue import KnownCatalogue, KnownKey
from worker.store.look_up import LookUp
from worker.store.postgres import PostgresStore
from worker.store.sql import Connection


@pytest_asyncio.fixture
async def url(servers: Infrastructure) -> AsyncIterator[str]:
    """A database whose catalogue a test may change."""
    async with fresh_database(servers.database_url) as url:
        await furnish(url)
        yield url


@pytest_asyncio.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    """The store in PostgreSQL."""
    store = PostgresStore(Database(url), 2)
    yield store
    await store.close()


@pytest_asyncio.fixture
async def operator(url: str) -> AsyncIterator[Connection]:
    """Somebody who changes the catalogue."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def test_what_was_read_is_not_read_again(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by API key, signature or token, nor for another serial number of the product."""
    lane = await Lane.open(store)

    def asked(serial: str) -> list[Record]:
        return [
            ask(OPEN, 1, serial),
            signed(ask(RIVAL, 2, serial), RIVAL),
            with_token(ask(GROWTH, 3, serial), GROWTH.company_id),
        ]

    assert await lane.verdicts(*asked("a")) == ["created"] * 3
    commands = lane.batch(*asked("b")).commands
    monkeypatch.setattr(PostgresStore, "session", None)
    facts = await store.look_up(commands, 1_000_000)
    assert facts.companies.keys() == {OPEN.company_id, RIVAL.company_id, GROWTH.company_id}
    assert (len(facts.api_keys), len(facts.signing_keys), len(facts.products)) == (1, 1, 3)


MOMENT = format_ms(NOW_MS)
CHANGES = {
    "plan": ("UPDATE plan SET max_dpps = 0", "402 dpp_hard_block"),
    "company": ("UPDATE company SET subscription = 'past_due'", "402 subscription_inactive"),
    "closed company": (f"UPDATE company SET closed_at = '{MOMENT}'", "401 Unauthorized"),
    "API key": (f"UPDATE api_key SET revoked_at = '{MOMENT}'", "401 Unauthorized"),
    "API key that goes": ("DELETE FROM api_key", "401 Unauthorized"),
    "all API keys": ("TRUNCATE api_key", "401 Unauthorized"),
    "signing key": (f"UPDATE signing_key SET revoked_at = '{MOMENT}'", "401 Unauthorized"),
    "product": ("DELETE FROM product", "404 Product not found"),
    "product that is new": (
        "INSERT INTO product SELECT reverse(id), company_id, template_id, name, model FROM product",
        "created",
    ),
    "template": ("UPDATE template SET fields = '[]'", "created"),
}


@pytest.mark.parametrize("at_look_up", [False, True])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_holds_for_the_next_turn(
    store: PostgresStore, operator: Connection, monkeypatch: pytest.MonkeyPatch, change: str, at_look_up: bool
) -> None:
    """Whichever table it is in, and also where it comes between the look-up and the transaction of that turn.

    Seen to fail without a trigger on the table, and without a look at the version.
    """
    statement, expected = CHANGES[change]
    lane = await Lane.open(store)
    sign = (lambda record: signed(record, OPEN)) if change == "signing key" else (lambda record: record)
    (before,) = await lane.process(sign(ask(OPEN, 1, "a")))
    look_up: Any = store.look_up
    changed = list[str]()

    async def act() -> None:
        if not changed:
            changed.append(await operator.execute(statement))

    async def look_up_and_change(*arguments: Any) -> Any:
        facts = await look_up(*arguments)
        await act()
        return facts

    if at_look_up:
        monkeypatch.setattr(store, "look_up", look_up_and_change)
    else:
        await act()
    (after,) = await lane.process(sign(ask(OPEN, 1, "b")))
    assert verdict(after) == expected
    assert (b'"colour"' in before.value, b'"colour"' in after.value) == (True, change == "product that is new")


async def test_a_turn_that_looks_up_again_leaves_nothing_behind(
    store: PostgresStore, operator: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No GTIN that it claimed for a company whose key is gone. Seen to fail where it claimed one and committed."""
    lane = await Lane.open(store)
    look_up: Any = store.look_up

    async def look_up_and_change(*arguments: Any) -> Any:
        facts = await look_up(*arguments)
        await operator.execute("DELETE FROM api_key")
        monkeypatch.setattr(store, "look_up", look_up)
        return facts

    monkeypatch.setattr(store, "look_up", look_up_and_change)
    assert await lane.verdicts(ask(OPEN)) == ["401 Unauthorized"]
    assert await operator.fetchval("SELECT count(*) FROM gtin_registration") == 0


async def test_a_company_that_is_gone_is_unknown(store: PostgresStore, operator: Connection) -> None:
    """A failover may lose a company that was loaded last, or an operator may delete a company that made nothing.

    Seen to fail where the worker missed the company's row of usage before it compared versions: its own memory then
    held the lane up for good.
    """
    lane = await Lane.open(store)
    assert await lane.verdicts(ask(OPEN, 1, "a", productId="f" * 24)) == ["404 Product not found"]
    await operator.execute("TRUNCATE company CASCADE")
    assert await lane.verdicts(ask(OPEN, 1, "b")) == ["401 Unauthorized"]


async def test_who_remembers_nothing_reads_no_version(operator: Connection) -> None:
    """Verbs look up, too, by roles that may not read it: its right is not among those that `redrive` asks for.

    Seen to fail where the look-up itself read the version.
    """
    await operator.execute("DROP TABLE catalogue_version")
    command = open_envelope(ask(OPEN), LIMITS).command
    look_up = LookUp(KnownCatalogue(), 1_000_000)
    assert not look_up.recall([command])
    facts = await look_up.read(operator)
    assert (len(facts.api_keys), len(facts.products)) == (1, 1)


async def test_a_change_keeps_the_session(store: PostgresStore, operator: Connection) -> None:
    """A worker whose catalogue changes every second does not connect every second."""
    lane = await Lane.open(store)
    sessions = "SELECT array_agg(pid) FROM pg_stat_activity WHERE application_name LIKE 'passport-worker %'"
    told = list[list[int]]()
    for number in range(3):
        await operator.execute("UPDATE plan SET max_v1_writes_per_day = 1000")
        assert await lane.verdicts(ask(OPEN, 1, str(number))) == ["created"]
        told.append(await operator.fetchval(f"{sessions} AND datname = current_database()"))
    assert told == [told[0]] * 3


async def test_a_database_that_was_set_back_is_read_anew(store: PostgresStore, operator: Connection) -> None:
    """It then has an older version, which is another one, however often it changed since."""
    before = await operator.fetchval("SELECT version FROM catalogue_version")
    await operator.execute("UPDATE plan SET max_v1_writes_per_day = 1000")
    lane = await Lane.open(store)
    assert await lane.verdicts(ask(OPEN)) == ["created"]
    await operator.execute("SET session_replication_role = replica; DELETE FROM api_key")  # triggers stay silent
    await operator.execute("UPDATE catalogue_version SET version = $1", before)
    assert await lane.verdicts(ask(OPEN, 1, "b")) == ["401 Unauthorized"]


def test_what_is_remembered_is_bounded() -> None:
    """The least recently used ones go, and large products do not come in.

    Seen to fail with all products: a worker that meets the largest ones had 207 MB at its peak, in place of 188.
    """
    known = KnownCatalogue()
    for name, size in (("small", 60_000), ("large", 70_000)):
        known.keep_product(Product(name, "c", "t", SeededFields(1, 1, "x" * size)))
    assert (known.product("small") is not None, known.product("large")) == (True, None)
    for number in range(30_000):
        company = Company(f"{number:024x}", Plan("p", 1, 2, 3), "active")
        known.keep_credential(company.id, KnownKey(None, company))
    assert known.credential(f"{29_999:024x}") is not None
    assert known.credential(f"{0:024x}") is None
