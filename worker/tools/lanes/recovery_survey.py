"""Which lanes lost commits, how far their results were published, and what is in the way of recovering them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from worker.stream.log_reader import LogReader
from worker.stream.published import before
from worker.tools.common.group_members import has_members
from worker.tools.common.group_view import PartitionView, group_view, stable_offsets
from worker.tools.common.history import NAMED_TO_THE_END, Topics, history
from worker.tools.common.inspection import Inspection, position_in
from worker.tools.common.selection import chosen_partitions
from worker.tools.common.servers import Servers
from worker.tools.lanes.lost import Lost
from worker.tools.lanes.restoring import Plan

LOOKS, LOOK_SECONDS = 20, 0.25
"""How often, and how far apart, something is looked at that may just now be ending."""


class Survey:
    """Asks both servers. Raises `CLUSTER_ERRORS` and `DATABASE_ERRORS`."""

    def __init__(self, servers: Servers, database: Inspection, reader: LogReader, search_from: datetime | None) -> None:
        self._servers, self._database, self._reader, self._search_from = servers, database, reader, search_from
        self._settings = servers.settings
        self._topic = servers.settings.topic_commands

    async def lost_lanes(self, topics: Topics, partitions: Sequence[int]) -> list[Lost]:
        """The chosen lanes, or all, with what can be seen from outside. Raises `BadSelection`."""
        view = await group_view(self._settings, self._servers.cluster)
        chosen = chosen_partitions(partitions, view)
        rows = await self._database.lanes(self._settings.group_id, self._topic)
        stable = await self._stable_offsets(chosen)
        applied = {at: position_in(rows.get(at)).applied for at in chosen}
        looks = {at: min(applied[at], view[at].log.end - 1) for at in chosen if view[at].log.end > view[at].log.first}
        ages = await LogReader(self._servers.cluster).appended_at(self._topic, looks)
        is_active = await has_members(self._servers.cluster, self._settings.group_id)
        found = []
        for at in chosen:
            since = self._search_from or before(ages.get(at, 0))
            row = rows.get(at)
            published = await published_end(self._reader, topics, at, applied[at], since)
            lane = Lost(at, applied[at], stable.get(at), published, since, None if row is None else row.id)
            if at not in stable:
                text = "a transaction is open that may still move the group's offset"
                lane.refuse("open-transaction", self._topic, lane.applied, text)
            if lane.to_restore:
                await self._look_for_obstacles(lane, view[at], is_active=is_active)
            found.append(lane)
        return found

    async def moved(self, lost: Sequence[Lost]) -> list[Lost]:
        """Those whose offset in the group is another one now: somebody published meanwhile."""
        stable = await self._stable_offsets([one.partition for one in lost])
        return [one for one in lost if stable.get(one.partition) != one.emitted]

    async def _stable_offsets(self, partitions: Sequence[int]) -> dict[int, int | None]:
        """Of those that are stable now, or soon: each transaction of a running worker keeps them open for a moment."""
        stable: dict[int, int | None] = {}
        for _ in range(LOOKS):
            left = [one for one in partitions if one not in stable]
            if not left:
                break
            stable |= await stable_offsets(self._settings, self._servers.cluster, left)
            await asyncio.sleep(LOOK_SECONDS if len(stable) < len(partitions) else 0)
        return stable

    async def _look_for_obstacles(self, lane: Lost, view: PartitionView, *, is_active: bool) -> None:
        log, at = view.log, lane.applied
        if log.end < lane.target:
            text = f"the log ends at {log.end}, and results were published up to {lane.target - 1}"
            lane.refuse("log-shorter", self._topic, log.end, text)
        if log.first > at:
            lane.refuse("command-expired", self._topic, at, f"the log starts at {log.first}")
        # once A is between the two, nothing looks wrong any more
        if is_active and (lane.emitted or 0) < lane.published_end:
            text = "its worker cannot see that commits are lost: stop all workers first, until it is recovered"
            lane.refuse("group-active", self._topic, at, text)
        if lane.lane_id is not None:
            rows, first = await Plan(self._database.connection).ledger_rows(lane.lane_id, at, lane.target)
            if rows:
                text = "the ledger has answers behind its lane's position"
                lane.refuse("ledger-not-empty", self._topic, first or at, text, rows)


async def published_end(reader: LogReader, topics: Topics, partition: int, applied: int, since: datetime) -> int:
    """One past the newest command of a partition that a result names which is visible since then; 0 where none does.

    `applied` is where its lane stands. Raises `CLUSTER_ERRORS`.
    """
    logs = await history(reader, topics, partition, (applied, applied), since)
    newest = -1
    async for kind, found in logs.named(NAMED_TO_THE_END):
        if kind is not None and found:
            newest = max(newest, *(one.cause for one in found))
    return newest + 1
