"""The store in PostgreSQL, on asyncpg: fencing, positions, the ledger, and one transaction a turn."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from asyncpg.transaction import Transaction

from worker.domain.command import Command
from worker.domain.facts import Facts
from worker.messages.events import Answer
from worker.store import failpoints, sql
from worker.store.errors import DayMissing, meaning_of
from worker.store.facts import LookUp
from worker.store.frames import Frames
from worker.store.incarnation import Incarnation
from worker.store.partitions import ensure_days
from worker.store.port import (
    AnotherDatabase,
    ExpectedPosition,
    FencingToken,
    LaneName,
    LostLane,
    NewerOwner,
    Owner,
    Position,
    Registered,
    Retriable,
    StoreUnavailable,
    TopicIdentity,
)
from worker.store.rows import answers_of, frame_columns, ledger_columns, passport_columns, position_of, token_columns
from worker.store.transaction import PostgresTransaction, lock_lanes

SESSION_SETTINGS = {
    "application_name": "passport-worker",
    "statement_timeout": "20s",
    "lock_timeout": "10s",
    # A worker that is paused inside a transaction must not hold the lane's row for longer than this (guard B14).
    "idle_in_transaction_session_timeout": "10s",
    # Our queries are lists of index look-ups; a generic plan made while a table was small must not scan it later.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    # A turn's look-ups last a millisecond, less than it takes to start a process that would help.
    "max_parallel_workers_per_gather": "0",
}
COMMAND_TIMEOUT_SECONDS = 25.0
TRANSACTION_SECONDS = 27.0
"""For a turn up to its COMMIT. Less than the server's own limit, which some servers lack and some drivers hide."""
TRANSACTION_TIMEOUT = "30s"
"""From PostgreSQL 17 on. A session that prepares a statement does not count as idle, for however long it is paused."""

TURN_STATEMENTS: Mapping[str, tuple[object, ...]] = {
    "lock_lanes": ([],),
    "lock_companies": ([],),
    "bindings": (b"", 0, 0),
    "frames": ([],),
    "writes": ([], []),
    "gtin_owners": ([],),
    "claim_gtins": ([], []),
    "serials": ([], "", ""),
    "settle_gtins": ([], []),
    "release_gtins": ([],),
    "record": (*passport_columns((), (), {}, {}), *ledger_columns((), ()), [], [], [], *frame_columns(())),
}
"""What a turn may run, with arguments that touch nothing: run once ahead, so that nothing is prepared under locks."""

MOST_KNOWN_FRAMES = 100_000
"""Of each session, in memory: some 9 MB. A worker's turns go through one or two."""

ANSWERS_BYTES = 2 * 1024 * 1024
"""How much a lane reads from the ledger at once: a thousand dead letters of a megabyte must not come together."""


_Init = Callable[["asyncpg.Connection[asyncpg.Record]"], Coroutine[Any, Any, None]]


def _pool(database_url: str, size: int, init: _Init) -> "asyncpg.Pool[asyncpg.Record]":
    """A pool whose sessions carry the timeouts that protect us from a frozen peer, on both sides."""
    return asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=size,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        timeout=5.0,
        server_settings=SESSION_SETTINGS,
        max_inactive_connection_lifetime=60.0,
        max_cached_statement_lifetime=0,
        init=init,
        reset=_nothing_to_reset,
    )


async def _nothing_to_reset(_connection: object) -> None:
    """Our sessions keep no state between transactions, so handing one back costs no round trip."""


class PostgresStore:
    """See `worker.store.port.Store`. Connects when it is first needed."""

    def __init__(self, database_url: str, pool_size: int) -> None:
        self._database_url, self._pool_size = database_url, pool_size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._connecting = asyncio.Lock()
        self._frames = Frames()
        self._prepared: dict[int, set[bytes]] = {}
        """By session that is prepared: the ids of frames that it has seen.

        What one database has, another may have lost, and a session is never with another.
        """
        self._incarnation = Incarnation()

    async def ping(self) -> None:
        """Raises `StoreUnavailable` unless the database answers, and is the one that it was."""
        async with self.session() as connection:
            await self._incarnation.check(connection)

    @property
    def incarnation(self) -> int:
        """See the port."""
        return self._incarnation.number

    async def close(self) -> None:
        """Let go of all connections, within a second or two."""
        if self._pool is not None:
            with suppress(Exception):
                async with asyncio.timeout(1.0):
                    await self._pool.close()
            self._pool.terminate()

    async def register(
        self, names: Collection[LaneName], owner: Owner, *, force: bool = False
    ) -> dict[LaneName, Registered | NewerOwner]:
        """See the port."""
        if not names:
            return {}
        ((group_id, topic),) = {(name.group_id, name.topic) for name in names}
        by_partition = {name.partition: name for name in names}
        lanes = (group_id, topic, sorted(by_partition))
        found: dict[LaneName, Registered | NewerOwner] = {}
        async with self.session() as connection, connection.transaction(isolation="read_committed"):
            for partition, generation, member in await connection.fetch(sql.load("lock_partitions"), *lanes):
                found[by_partition[partition]] = NewerOwner(generation, member)
            registered = await connection.fetch(
                sql.load("register"), *lanes, owner.generation, owner.member, force, owner.producer
            )
            for partition, lane_id, epoch, producers in registered:
                name = by_partition[partition]
                others = frozenset(producers) - {owner.producer}
                found[name] = Registered(FencingToken(name, lane_id, epoch, owner.producer), others)
        return found

    async def list_only(self, tokens: Collection[FencingToken], producer: str) -> set[FencingToken]:
        """See the port."""
        async with self.session() as connection:
            rows = await connection.fetch(sql.load("list_only"), *token_columns(tokens), producer)
        ours = {lane_id for (lane_id,) in rows}
        return {token for token in tokens if token.lane_id in ours}

    async def positions(self, tokens: Collection[FencingToken]) -> dict[FencingToken, Position | None]:
        """See the port."""
        async with self.session() as connection:
            rows = await connection.fetch(sql.load("positions"), [token.lane_id for token in tokens])
        lanes = {(row["id"], row["epoch"], row["holder"]): row for row in rows}
        return {token: position_of(lanes[token.held]) for token in tokens if token.held in lanes}

    async def applied(self, group_id: str, topic: str) -> dict[int, int | None]:
        """See the port."""
        async with self.session() as connection:
            rows = await connection.fetch(sql.load("lanes"), group_id, topic)
        return {row["partition"]: row["applied"] for row in rows}

    async def start_lane(self, token: FencingToken, offset: int, topic: TopicIdentity | None = None) -> Position:
        """See the port."""
        ids = (None, None) if topic is None else (topic.cluster_id, topic.topic_id)
        async with self.session() as connection:
            await connection.execute(sql.load("start_lane"), token.lane_id, token.epoch, offset, *ids, token.holder)
        position = (await self.positions([token])).get(token)
        if position is None:
            raise LostLane([token])
        return position

    async def note_set_back(self, token: FencingToken, start: int, stop: int, member: str) -> None:
        """See the port."""
        name = token.name
        async with self.session() as connection:
            await connection.execute(sql.load("note_set_back"), name.topic, name.partition, start, member, stop)

    async def mark_emitted(self, offsets: Mapping[FencingToken, int]) -> None:
        """See the port."""
        async with self.session() as connection:
            await connection.execute(sql.load("mark_emitted"), *token_columns(offsets), list(offsets.values()))

    async def answers(self, token: FencingToken, start: int, stop: int, limit: int) -> list[Answer]:
        """See the port."""
        async with self.session() as connection:
            rows = await connection.fetch(sql.load("answers"), token.lane_id, start, stop, limit, ANSWERS_BYTES)
            return await answers_of(rows, self._frames, connection)

    async def look_up(self, commands: Sequence[Command], most_bytes: int) -> Facts:
        """See the port."""
        async with self.session() as connection:
            return await LookUp(connection, most_bytes).look_up(commands)

    @asynccontextmanager
    async def transaction(self, expected: Sequence[ExpectedPosition]) -> AsyncIterator["PostgresTransaction"]:
        """See the port. Makes the days that are missing, when it meets that."""
        try:
            async with self.session() as connection:
                self._check_incarnation(expected)
                known = await self._prepare_ahead(connection)
                transaction = connection.transaction(isolation="read_committed")
                async with asyncio.timeout(TRANSACTION_SECONDS):
                    await transaction.start()
                    await lock_lanes(connection, expected)
                    failpoints.reach("lane lock")
                    inside = PostgresTransaction(connection, expected, self._frames, known)
                    yield inside
                failpoints.reach("before COMMIT")
                await _commit(transaction)
                failpoints.reach("after COMMIT")
                _remember(known, inside.written)
        except DayMissing as missing:  # the database was away over midnights, and housekeeping is minutes away
            async with self.session() as connection:
                await ensure_days(connection)
            raise Retriable(str(missing)) from missing

    def _check_incarnation(self, expected: Sequence[ExpectedPosition]) -> None:
        """The connection may be the first one with another database, or come right after the first one."""
        if any(one.incarnation != self.incarnation for one in expected):
            raise AnotherDatabase

    async def _begin_session(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Know the database, and limit transactions, whatever state their session is in (guard B14)."""
        await self._incarnation.check(connection)
        self._prepared.pop(connection.get_server_pid(), None)
        await connection.fetch(sql.load("transaction_timeout"), TRANSACTION_TIMEOUT)

    async def _prepare_ahead(self, connection: sql.Connection) -> set[bytes]:
        """Prepare what a turn runs before its first one on this connection (guard B14); the frames that it has seen.

        Of sessions that have ended nothing is kept: there are no more than the pool has room for.
        """
        backend = connection.get_server_pid()
        known = self._prepared.pop(backend, None)
        if known is None:
            for query, arguments in TURN_STATEMENTS.items():
                await connection.fetch(sql.load(query), *arguments)
            await connection.executemany(sql.load("dead_letters"), [])  # none, but it is prepared
            known = set()
        self._prepared[backend] = known
        while len(self._prepared) > self._pool_size:
            del self._prepared[next(iter(self._prepared))]
        return known

    @asynccontextmanager
    async def session(self) -> AsyncIterator[sql.Connection]:
        """A connection that is thrown away on any failure: nobody knows what state it was left in (guard B14)."""
        try:
            pool = await self._connected()
            connection = await pool.acquire(timeout=30.0)
        except Exception as error:  # whatever it is, no record is to blame
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        try:
            yield connection
        except BaseException as error:
            with suppress(Exception):  # the pool has taken a connection back that the server closed
                connection.terminate()
                await pool.release(connection, timeout=1.0)
            meaning = meaning_of(error) if isinstance(error, Exception) else error
            if meaning is error:
                raise
            raise meaning from error
        await pool.release(connection)

    async def _connected(self) -> "asyncpg.Pool[asyncpg.Record]":
        async with self._connecting:
            if self._pool is None:
                self._pool = await _pool(self._database_url, self._pool_size, self._begin_session)
            return self._pool


def _remember(known: set[bytes], written: Collection[bytes]) -> None:
    """What is forgotten is written once more, which changes nothing."""
    if len(known) + len(written) > MOST_KNOWN_FRAMES:
        known.clear()
    known.update(written)


async def _commit(transaction: Transaction) -> None:
    """A COMMIT without an answer may have taken effect: the position will tell, and nothing may come again before."""
    try:
        await transaction.commit()
    except TimeoutError as error:
        raise StoreUnavailable("no answer to COMMIT in time") from error
