"""Writing what was planned for lanes: each chunk in one transaction, under the locks of a turn."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

import structlog

from worker.domain.facts import Facts
from worker.settings import Settings
from worker.store.partitions import ensure_days
from worker.store.port import ExpectedPosition, FencingToken, LaneName, LostLane, Registered, Retriable
from worker.store.postgres import PostgresStore
from worker.stream.cluster.connection import Cluster
from worker.stream.fencing import fence
from worker.tools.common.group_members import has_members
from worker.tools.common.inspection import Inspection
from worker.tools.common.progress import Progress
from worker.tools.common.refits import Restored
from worker.tools.common.servers import Servers
from worker.tools.lanes.lost import Lost
from worker.tools.lanes.recovery_plan import LanePlan
from worker.tools.lanes.restoring import make_lanes, raise_epochs

log = structlog.get_logger(__name__)

CHUNK_RECORDS = 2000
CHUNK_BYTES = 8 * 1024 * 1024
FENCE_SECONDS = 60.0
_TRIES = 20
"""How often a chunk is tried: workers of halted lanes register them again, and others hold locks for a while."""


class CannotWrite(Exception):
    """What was planned cannot be written; the text says why. What was written before stays; run again, it goes on."""


class Writer(AbstractAsyncContextManager["Writer"]):
    """Writes with the worker's own transaction. `registered` are lanes that nobody else holds."""

    def __init__(self, servers: Servers, database: Inspection, registered: dict[int, Registered]) -> None:
        self._settings, self._database = servers.settings, database
        self._tokens = {at: one.token for at, one in registered.items()}
        self._store = PostgresStore(servers.settings.database_url, 2)
        self._cluster, self._identity = servers.cluster, servers.cluster.identity

    async def __aenter__(self) -> Self:
        """Days are made first."""
        await ensure_days(self._database.connection)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Its connections are closed."""
        await self._store.close()

    async def write(self, lane: LanePlan, lost: Lost, progress: Progress) -> None:
        """All of one lane. Raises `CannotWrite`, `StoreUnavailable` and `CLUSTER_ERRORS`."""
        await self._expect_nobody(lost)
        if lost.partition not in self._tokens or lost.applied == 0:
            await self._begin(lost.partition)
        at = lost.applied
        async for stop, chunk in lane.chunks():
            if lane.refusals.counts:
                raise CannotWrite(f"partition {lost.partition} is not what it was while it was planned: run it again")
            for end, part in _parts(chunk, stop):
                await self._write(lost, at, end, part)
                progress.advance(end - at)
                at = end

    async def _begin(self, partition: int) -> None:
        """A lane that Postgres does not know starts at 0, with a ledger from there on."""
        name = LaneName(self._settings.group_id, self._settings.topic_commands, partition)
        if partition not in self._tokens:
            await make_lanes(self._database.connection, [name])
            await self._take_over()
        identity = await self._identity(self._settings.topic_commands)
        for _ in range(_TRIES):
            try:
                await self._store.start_lane(self._tokens[partition], 0, identity)
            except LostLane:
                await self._take_over()
            else:
                return
        raise CannotWrite(f"partition {partition}: others hold it, tried {_TRIES} times; stop all workers")

    async def _expect_nobody(self, lost: Lost) -> None:
        """Where results are published beyond E, a worker that opened the lane now would decide them anew."""
        if lost.published_end > (lost.emitted or 0) and await has_members(self._cluster, self._settings.group_id):
            raise CannotWrite(
                f"partition {lost.partition}: workers have started, and cannot see that its commits are lost. Stop all "
                "of them, and start none before this was run again"
            )

    async def _write(self, lost: Lost, applied: int, stop: int, part: Sequence[Restored]) -> None:
        for tried in range(_TRIES):
            try:
                await self._transaction(self._tokens[lost.partition], lost, (applied, stop), part)
            except LostLane:  # its worker has registered it again; it halts as before
                log.warning("lane_taken_over_again", partition=lost.partition)
                await self._expect_nobody(lost)
                await self._take_over()
            except Retriable as error:
                log.warning("chunk_is_tried_again", partition=lost.partition, error=str(error)[:5])
            else:
                return
            await asyncio.sleep(min(1.0, 0.05 * 2**tried))
        raise CannotWrite(f"partition {lost.partition}: others hold it, tried {_TRIES} times; stop all workers")

    async def _transaction(
        self, token: FencingToken, lost: Lost, offsets: tuple[int, int], part: Sequence[Restored]
    ) -> None:
        applied, stop = offsets
        emitted = min(stop, max(lost.emitted or 0, lost.published_end))
        created = [one.created for one in part if one.created is not None]
        async with self._store.transaction([ExpectedPosition(token, applied, emitted)]) as transaction:
            await transaction.reserve(created, Facts())
            await transaction.record(created, [[one.answer for one in part]], [stop])

    async def _take_over(self) -> None:
        """Raise epochs again; whoever held a lane meanwhile can have nothing open any more."""
        raised = await take_over(self._database, self._cluster, self._settings, ())
        self._tokens = {at: one.token for at, one in raised.items()}


async def take_over(
    database: Inspection, cluster: Cluster, settings: Settings, partitions: Sequence[int]
) -> dict[int, Registered]:
    """No worker may write for any lane, and none has anything open on these partitions, or on any if none is named.

    Raises `CannotWrite` where Kafka does not end what is open within `FENCE_SECONDS`.
    """
    registered = await raise_epochs(database.connection, settings.group_id, settings.topic_commands)
    ids = {id for at, one in registered.items() if not partitions or at in partitions for id in one.producers}
    try:
        async with asyncio.timeout(FENCE_SECONDS):
            await asyncio.gather(*(fence(cluster, settings, id) for id in sorted(ids)))
    except TimeoutError as error:
        told = ", ".join(sorted(ids))
        raise CannotWrite(f"Kafka did not end within {FENCE_SECONDS:.0f} s what may be open of {told}") from error
    return registered


def _parts(chunk: Sequence[Restored], stop: int) -> list[tuple[int, list[Restored]]]:
    """In pieces of at most `CHUNK_RECORDS` and about `CHUNK_BYTES`, each with the offset behind it."""
    parts: list[tuple[int, list[Restored]]] = []
    part: list[Restored] = []
    size = 0
    for one in chunk:
        length = len(one.answer.value)
        if part and (len(part) >= CHUNK_RECORDS or size + length > CHUNK_BYTES):
            parts.append((part[-1].answer.offset + 1, part))
            part, size = [], 0
        part.append(one)
        size += length
    return [*parts, (stop, part)]
