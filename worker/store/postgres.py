"""The store in PostgreSQL, on asyncpg: fences, positions, the ledger, and one transaction per turn."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import asyncpg

from worker.domain.command import Command
from worker.domain.facts import Facts
from worker.messages.events import Answer
from worker.store import failpoints, sql
from worker.store.database import Database
from worker.store.errors import DayMissing, meaning_of
from worker.store.frames import Frames
from worker.store.incarnation import Incarnation
from worker.store.known_catalogue import KnownCatalogue
from worker.store.look_up import LookUp
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
from worker.store.schema import check_readable, known_migrations
from worker.store.transaction import PostgresTransaction

SESSION_SETTINGS = {
    # `migrate` reads the number: a schema that these workers cannot read has to wait until they have ended.
    "application_name": f"passport-worker {known_migrations()[-1].version:04}",
    "statement_timeout": "20s",
    "lock_timeout": "10s",
    # A worker that is paused inside a transaction must not hold the lane's row for longer (guard B14).
    "idle_in_transaction_session_timeout": "10s",
    # All queries use indexes. A generic plan that was made while a table was small must not scan it later.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    # A look-up takes a millisecond. Starting a parallel process takes longer.
    "max_parallel_workers_per_gather": "0",
}
COMMAND_TIMEOUT_SECONDS = 25.0
RELEASE_SECONDS = 2.0
# For a turn up to its COMMIT. Below the server's limit, which some servers lack and some drivers do not report.
TRANSACTION_SECONDS = 27.0
# The server's limit, from PostgreSQL 17 on. A session that is paused while it prepares a statement is not idle.
TRANSACTION_TIMEOUT = "30s"

# The queries of a turn, with arguments that touch nothing. A new session runs each once, since preparing one later, in
# a turn, would take time under locks.
TURN_STATEMENTS: Mapping[str, tuple[object, ...]] = {
    "gather": ([], [], [], [], "", [], "", "", b"", 0),
    "bindings": (b"", 0, 0),
    "frames": ([],),
    "gtin_owners": ([],),
    "claim_gtins": ([], []),
    "settle_gtins": ([], [], []),
    "release_gtins": ([], []),
    "record": (*passport_columns((), (), {}, {}), *ledger_columns((), ()), [], [], [], *frame_columns(())),
}

# The most frames that a session remembers, for some 9 MB. The turns of a worker use one or two sessions.
MOST_KNOWN_FRAMES = 100_000

# The most bytes of the ledger that a lane reads at once. A thousand dead letters of a megabyte would not fit.
ANSWERS_BYTES = 2 * 1024 * 1024


class PostgresStore:
    """See `worker.store.port.Store`. Connects at the first call."""

    def __init__(self, database: Database, pool_size: int) -> None:
        self.database, self._pool_size = database, pool_size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._connecting = asyncio.Lock()
        self._frames = Frames()
        # The sessions whose statements are prepared, by process id, each with the ids of frames that it has seen
        # committed. By session, since a session never changes its database, and another database may lack a frame.
        self._prepared: dict[int, set[bytes]] = {}
        self._incarnation = Incarnation()
        self._has_begun = False
        self._known = KnownCatalogue()

    async def ping(self) -> None:
        """Raises `StoreUnavailable` unless the same database as before answers."""
        async with self.session() as connection:
            await self._check_incarnation(connection)

    @property
    def incarnation(self) -> int:
        """See the port."""
        return self._incarnation.number

    async def close(self) -> None:
        """Close all connections, within a second or two."""
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
        (group_id,) = {name.group_id for name in names}  # the port allows one group only
        by_partition = {(name.topic, name.partition): name for name in names}
        lanes = (group_id, [topic for topic, _ in by_partition], [partition for _, partition in by_partition])
        owners: dict[LaneName, Registered | NewerOwner] = {}
        async with self.session() as connection, connection.transaction(isolation="read_committed"):
            # Lock all existing lanes before registering one, in the order in which turns lock theirs.
            for topic, partition, generation, member in await connection.fetch(sql.load("lock_partitions"), *lanes):
                owners[by_partition[topic, partition]] = NewerOwner(generation, member)
            registered = await connection.fetch(
                sql.load("register"), *lanes, owner.generation, owner.member, force, owner.producer
            )
            for topic, partition, lane_id, epoch, producers in registered:
                name = by_partition[topic, partition]
                # A session that opens again is in the lists itself, and must never fence its own id.
                others = frozenset(producers) - {owner.producer}
                owners[name] = Registered(FencingToken(name, lane_id, epoch, owner.producer), others)
        return owners

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

    async def applied(self, group_id: str, topics: Collection[str]) -> dict[tuple[str, int], int | None]:
        """See the port."""
        async with self.session() as connection:
            rows = await connection.fetch(sql.load("lanes"), group_id, [*topics])
        return {(row["topic"], row["partition"]): row["applied"] for row in rows}

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
        known = self._known
        look_up = LookUp(known, most_bytes)
        if not look_up.recall(commands):
            async with self.session() as connection:
                await known.read_version(connection)
                await look_up.read(connection)
        look_up.facts.catalogue_version = known.version
        return look_up.facts

    @asynccontextmanager
    async def transaction(
        self, expected: Sequence[ExpectedPosition], commands: Sequence[Command] = (), facts: Facts | None = None
    ) -> AsyncIterator["PostgresTransaction"]:
        """See the port. Makes missing days."""
        try:
            async with self.session() as connection:
                # This connection, or one just before it, may be the first to another database.
                if any(position.incarnation != self.incarnation for position in expected):
                    raise AnotherDatabase
                known = await self._prepare_ahead(connection)
                async with asyncio.timeout(TRANSACTION_SECONDS):
                    facts = facts or Facts()
                    inside = PostgresTransaction(connection, expected, facts, self._frames, known)
                    is_current = facts.catalogue_version in (None, await inside.gather(commands))
                    # The locks are held from here to the commit, so that no other worker can take the lanes.
                    if is_current:
                        yield inside
                    else:
                        # `gather` stopped before it claimed any GTIN, so this only releases the locks.
                        await connection.execute("ROLLBACK")
                if is_current:
                    await _end(connection)
                    if len(known) + len(inside.written) > MOST_KNOWN_FRAMES:
                        known.clear()  # a frame that is written again changes nothing
                    # Only after COMMIT: a frame that was rolled back must not count, and no foreign key would notice.
                    known.update(inside.written)
            if not is_current:
                # Another session may have replaced the cache already: a cache of a newer version stays.
                if facts.catalogue_version == self._known.version:
                    self._known = KnownCatalogue()
                raise Retriable("the catalogue has changed since the look-up")
        except DayMissing as missing:  # Postgres was away over midnight, and housekeeping is minutes away
            async with self.session() as connection:
                await ensure_days(connection)
            raise Retriable(str(missing)) from missing

    async def _begin_session(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        await self._check_incarnation(connection)
        await self._check_schema(connection)
        # Process ids are used again. A session that has ended may have left its entry under this one.
        self._prepared.pop(connection.get_server_pid(), None)
        await connection.fetch(sql.load("transaction_timeout"), TRANSACTION_TIMEOUT)  # guard B14

    async def _check_schema(self, connection: sql.Connection) -> None:
        """Raise `StoreUnavailable` if the database needs newer workers by now.

        `migrate` waits for connected workers that are too old, but while Postgres restarts, none is connected. The
        first session skips this check: those before the start say more.
        """
        if self._has_begun:
            with suppress(asyncpg.InsufficientPrivilegeError):
                if (problem := await check_readable(connection)) is not None:
                    raise StoreUnavailable(str(problem))
        self._has_begun = True

    async def _check_incarnation(self, connection: sql.Connection) -> None:
        """See `Incarnation.check`. If another database answers, gives up all connections to the previous one."""
        met = self.incarnation
        try:
            await self._incarnation.check(connection)
        finally:
            if self.incarnation != met and self._pool is not None:
                await self._pool.expire_connections()

    async def _prepare_ahead(self, connection: sql.Connection) -> set[bytes]:
        """Prepare the queries of a turn on a new session (guard B14). Returns the ids of frames that it has seen."""
        backend = connection.get_server_pid()
        known = self._prepared.pop(backend, None)
        if known is None:
            for query, arguments in TURN_STATEMENTS.items():
                await connection.fetch(sql.load(query), *arguments)
            await connection.executemany(sql.load("dead_letters"), [])  # prepares it, and writes nothing
            known = set()
        self._prepared[backend] = known
        while len(self._prepared) > self._pool_size:  # the oldest sessions have ended
            del self._prepared[next(iter(self._prepared))]
        return known

    @asynccontextmanager
    async def session(self) -> AsyncIterator[sql.Connection]:
        """A connection that is closed after any failure, since its state is then unknown (guard B14)."""
        try:
            pool = await self._connected()
            connection = await pool.acquire(timeout=30.0)
        except Exception as error:  # no record is to blame, whatever failed
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        try:
            yield connection
        except BaseException as error:
            with suppress(Exception):  # the pool takes a connection back when the server closes it
                connection.terminate()
                await pool.release(connection, timeout=1.0)
            meaning = meaning_of(error) if isinstance(error, Exception) else error
            if meaning is error:
                raise
            raise meaning from error
        with suppress(TimeoutError):  # asyncpg says goodbye to the server of an expired connection, which may be silent
            await pool.release(connection, timeout=RELEASE_SECONDS)

    async def _connected(self) -> "asyncpg.Pool[asyncpg.Record]":
        async with self._connecting:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    connect=self.database.connect,
                    min_size=0,
                    max_size=self._pool_size,
                    # Time limits on both sides protect the worker from a frozen peer.
                    command_timeout=COMMAND_TIMEOUT_SECONDS,
                    timeout=5.0,
                    server_settings=SESSION_SETTINGS,
                    max_inactive_connection_lifetime=60.0,
                    # asyncpg would drop statements after 300 s, and prepare them again under locks (guard B14).
                    max_cached_statement_lifetime=0,
                    init=self._begin_session,
                    reset=_nothing_to_reset,
                )
            return self._pool


async def _nothing_to_reset(_connection: object) -> None:
    """Sessions keep no state between transactions. asyncpg's own reset would cost a round trip each time."""


async def _end(connection: sql.Connection) -> None:
    failpoints.reach("before COMMIT")
    try:
        await commit(connection)
    except TimeoutError as error:
        # The COMMIT may have taken effect. Only the lane's position tells, so the lane has to be opened again.
        raise StoreUnavailable("no answer to COMMIT in time") from error
    failpoints.reach("after COMMIT")


async def commit(connection: sql.Connection) -> None:
    """End a transaction that `begin.sql` began. Raises `StoreUnavailable` if Postgres rolls it back instead."""
    if (status := await connection.execute("COMMIT")) != "COMMIT":
        raise StoreUnavailable(f"expected COMMIT, got {status}")
