"""Guard B14: a COMMIT whose answer is lost, and a worker that is paused while it holds its lane's row."""

import asyncio
import time

import pytest
from asyncpg import Connection

from tests.contract.world import fence
from tests.infrastructure.tools import NOT_OURS
from tests.integration.guards_helpers import commands, publish, running
from tests.invariants import check_invariants
from tests.workbench import Workbench
from worker.domain.command import DeadLetter
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.store import postgres, sql
from worker.store.port import ExpectedPosition, FencingToken, LaneName, StoreUnavailable
from worker.store.postgres import SESSION_SETTINGS, PostgresStore


@pytest.mark.real_kafka
@pytest.mark.parametrize("committed", [True, False])
async def test_b14_a_commit_without_an_answer_is_looked_up(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """Whether the COMMIT took place or not, each command has one result, and soon.

    Seen to fail when a lost answer was answered with another try of the batch, without a look at the position: the lane
    did not open again.
    """
    original, lost = postgres.commit, list[int]()

    async def commit(connection: sql.Connection) -> None:
        if not lost:
            lost.append(1)
            if committed:
                await original(connection)
            raise TimeoutError("the answer to COMMIT was lost")
        await original(connection)

    async with running(bench) as one:
        monkeypatch.setattr(postgres, "commit", commit)
        await publish(bench, commands(bench, 0, 30))
        await bench.wait_for_results(30, 8)
        assert one.reopenings(0) == 1
    await check_invariants(bench)


async def test_b14_a_session_that_failed_is_never_used_again(bench: Workbench) -> None:
    """Whatever state a failure left it in, the next transaction runs on a connection of its own.

    Seen to fail without `terminate()`: the pool gave out the same connection.
    """

    async def backend(failure: Exception | None = None) -> int:
        async with store.session() as connection:
            backends.append(await connection.fetchval("SELECT pg_backend_pid()"))
            if failure is not None:
                raise failure
        return backends[-1]

    store, backends = PostgresStore(bench.settings.database, 1), list[int]()
    try:
        assert await backend() == await backend()
        with pytest.raises(StoreUnavailable):
            await backend(TimeoutError("no answer"))
        assert await backend() != backends[0]
    finally:
        await store.close()


async def test_b14_sessions_carry_their_timeouts(bench: Workbench) -> None:
    """Neither a statement, nor a wait for a lock, nor a paused transaction lasts for ever.

    Seen to fail without `server_settings`: all three are 0, for ever.
    """
    store = PostgresStore(bench.settings.database, 2)
    try:
        async with store.session() as connection:
            names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
            assert [await connection.fetchval(f"SHOW {name}") for name in names] == ["20s", "10s", "10s"]
    finally:
        await store.close()


async def test_b14_a_batch_prepares_nothing_under_its_locks(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL before 17 has no limit for a transaction: there, what a batch may run is prepared before it begins.

    Seen to fail without preparing ahead: every statement of the batch was prepared in its transaction. That of the dead
    letters was, for longer: on PostgreSQL 15 a frozen worker kept a lane from its heir for ever. Nor does it write
    statements in pieces, as `executemany` does from 128 KiB on: between them the session is not idle, either.
    """
    store = PostgresStore(bench.settings.database, 1)
    name = LaneName("group", bench.settings.topic_commands, 0)
    try:
        token = await fence(store, name)
        await store.start_lane(token, 0)
        letter = DeadLetter(None, None, (), "tombstone")
        answer = Answer(0, int(time.time() * 1000), Kind.REJECTED, "key", b"{}", dead_letter=letter)
        async with store.transaction([ExpectedPosition(token, 0, 0)]) as transaction:
            prepared = await _prepared(transaction._connection)
            monkeypatch.delattr(Connection, "executemany")
            await transaction.record([], [[answer]], [1])
            assert await _prepared(transaction._connection) == prepared
        assert {sql.load(query) for query in postgres.TURN_STATEMENTS} <= prepared
    finally:
        await store.close()


async def _prepared(connection: sql.Connection) -> set[str]:
    return {row["statement"] for row in await connection.fetch("SELECT statement FROM pg_prepared_statements")}


async def _major_version(bench: Workbench) -> int:
    connection = await bench.connect()
    try:
        return int(connection.get_server_version().major)
    finally:
        await connection.close()


@pytest.mark.parametrize("preparing", [False, True])
async def test_b14_a_paused_transaction_gives_its_lane_back(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, preparing: bool
) -> None:
    """A worker that stops in the middle of a batch is put out by Postgres; its batch has no effect.

    Seen to fail without `idle_in_transaction_session_timeout`: the heir waited for the lane's row. While a statement is
    being prepared (asyncpg ends that with Flush, not Sync) the session does not count as idle: seen to fail without
    `transaction_timeout`, in a CI run first, where a frozen worker kept its lane for as long as anybody watched. Before
    PostgreSQL 17 there is none, and all that protects is that a batch prepares nothing (see the test above).
    """
    if preparing and (await _major_version(bench)) < 17:
        pytest.skip(f"needs transaction_timeout of PostgreSQL 17, {NOT_OURS}")
    monkeypatch.setitem(SESSION_SETTINGS, "idle_in_transaction_session_timeout", "30s" if preparing else "1s")
    monkeypatch.setattr(postgres, "TRANSACTION_TIMEOUT", "4s" if preparing else "30s")
    name = LaneName("group", bench.settings.topic_commands, 0)
    paused, heir = (PostgresStore(bench.settings.database, 2) for _ in range(2))
    try:
        token = await fence(paused, name, 1, "paused")
        await paused.start_lane(token, 0)
        taken: list[FencingToken] = []

        async def pause_in_a_batch() -> None:
            async with paused.transaction([ExpectedPosition(token, 0, 0)]) as transaction:
                await transaction.record([], [[]], [7])
                if preparing:
                    await transaction._connection.prepare("SELECT 7")
                taken.append(await asyncio.wait_for(fence(heir, name, 2, "heir"), 15))

        with pytest.raises(StoreUnavailable):
            await pause_in_a_batch()
        position = (await heir.positions(taken))[taken[0]]
        assert position is not None
        assert position.applied == 0
    finally:
        await paused.close()
        await heir.close()
