"""Writes the plan for lanes: each chunk in one transaction of the worker, under the locks of a turn."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import stamina

from worker.store.partitions import ensure_days
from worker.store.port import ExpectedPosition, LaneName, LostLane, Registered, Retriable
from worker.store.postgres import PostgresStore
from worker.tools.common.connected import Connected
from worker.tools.common.group_view import has_members
from worker.tools.common.progress import Progress
from worker.tools.lanes.lost_lanes import LaneWithLostCommits
from worker.tools.lanes.recovery_plan import LanePlan
from worker.tools.lanes.restored_command import RestoredCommand
from worker.tools.lanes.taking_lanes import CannotWrite, make_lanes, take_over

CHUNK_RECORDS = 2000
CHUNK_BYTES = 8 * 1024 * 1024
# Attempts for a chunk: workers of halted lanes register them again, and others hold locks for a while.
_TRIES = 20


class Writer:
    """Writes with the worker's own transaction. `registered` are lanes that nobody else holds."""

    def __init__(self, both: Connected, store: PostgresStore, registered: dict[int, Registered]) -> None:
        self._both, self._settings, self._store = both, both.settings, store
        self._tokens = {at: lane.token for at, lane in registered.items()}

    async def write(self, plan: LanePlan, lane: LaneWithLostCommits, progress: Progress) -> None:
        """Write all of one lane. Raises `CannotWrite`, `StoreUnavailable` and `CLUSTER_ERRORS`."""
        await self._expect_nobody(lane)
        # A is also 0 if the lane never ran, and its row has no position yet. Starting a lane twice changes nothing.
        if lane.partition not in self._tokens or lane.applied == 0:
            await self._begin(lane)
        applied = lane.applied
        async for stop, chunk in plan.chunks():
            # This is the second reading of the logs. A chunk lacks refused commands: the ledger would lack their rows.
            if plan.refusals.counts:
                raise CannotWrite(f"{lane.name} has changed since it was planned: run it again")
            for end, part in _parts(chunk, stop):
                await self._write_part(lane, applied, end, part)
                progress.advance(end - applied)
                applied = end

    async def _expect_nobody(self, lane: LaneWithLostCommits) -> None:
        """Raise `CannotWrite` if the group has members while the lane has results beyond E.

        A worker that opened the lane now would decide their commands again.
        """
        if lane.published_end > (lane.emitted or 0) and await has_members(self._both.cluster, self._settings.group_id):
            raise CannotWrite(
                f"{lane.name}: workers have started, and cannot see that its commits are lost. Stop all "
                "of them, run this again, and only then start workers"
            )

    async def _begin(self, lane: LaneWithLostCommits) -> None:
        """Start a lane that Postgres does not know at 0, with a ledger from there on."""
        topic, partition = self._settings.topic_commands, lane.partition
        if partition not in self._tokens:
            await make_lanes(self._both.database.connection, [LaneName(self._settings.group_id, topic, partition)])
            await self._take_over()
        identity = await self._both.cluster.identity(topic)
        await self._persist(lane, lambda: self._store.start_lane(self._tokens[partition], 0, identity))

    async def _write_part(
        self, lane: LaneWithLostCommits, applied: int, stop: int, part: Sequence[RestoredCommand]
    ) -> None:
        emitted = min(stop, max(lane.emitted or 0, lane.published_end))
        created = [command.created for command in part if command.created is not None]
        answers = [command.answer for command in part]

        async def transaction() -> None:
            expected = ExpectedPosition(self._tokens[lane.partition], applied, emitted)
            async with self._store.transaction([expected]) as transaction:
                await transaction.reserve(created)
                await transaction.record(created, [answers], [stop])
                lane.has_written = True  # before COMMIT, whose answer may be lost

        await self._persist(lane, transaction)

    async def _persist(self, lane: LaneWithLostCommits, write: Callable[[], Awaitable[object]]) -> None:
        """Write, and try again if others hold the lane or its locks. Raises `CannotWrite` if they keep holding them."""
        try:
            async for attempt in stamina.retry_context(
                on=(LostLane, Retriable),
                attempts=_TRIES,
                timeout=None,
                wait_initial=0.05,
                wait_max=1.0,
                wait_jitter=0.0,
            ):
                with attempt:
                    try:
                        await write()
                    except LostLane:  # its worker has registered it again; it halts as before
                        await self._expect_nobody(lane)
                        await self._take_over()
                        raise
        except (LostLane, Retriable) as error:
            text = f"{lane.name}: others hold it, tried {_TRIES} times; stop all workers"
            raise CannotWrite(text) from error

    async def _take_over(self) -> None:
        """Raise epochs again, and end whatever workers that held a lane meanwhile have open."""
        registered = await take_over(self._both, ())
        self._tokens = {at: lane.token for at, lane in registered.items()}


@asynccontextmanager
async def recovery_writer(both: Connected, registered: dict[int, Registered]) -> AsyncIterator[Writer]:
    """A writer with its own connections. Daily partitions for the rows exist before it starts."""
    store = PostgresStore(both.settings.database, 2)
    try:
        await ensure_days(both.database.connection)
        yield Writer(both, store, registered)
    finally:
        await store.close()


def _parts(chunk: Sequence[RestoredCommand], stop: int) -> Iterator[tuple[int, list[RestoredCommand]]]:
    """Parts of at most `CHUNK_RECORDS` and about `CHUNK_BYTES`, each with the offset after it."""
    part, size = list[RestoredCommand](), 0
    for command in chunk:
        length = len(command.answer.value)
        if part and (len(part) >= CHUNK_RECORDS or size + length > CHUNK_BYTES):
            yield part[-1].answer.offset + 1, part
            part, size = [], 0
        part.append(command)
        size += length
    # The last part ends at `stop`, not after its last command: markers may follow, and A has to pass them.
    yield stop, part
