"""Where lanes stand, as both servers say: E, then A, and the logs that they count in."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from worker.store.port import FencingToken, LostLane, Position
from worker.stream.cluster.offset_fetch_v7 import Committed
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.forgotten import Forgotten, reason_without_offset
from worker.stream.lane import Lane
from worker.stream.positions import Log, reason_to_halt, why_commits_are_lost


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a lane stands: A and what Postgres knows besides, E, and its log; `is_new` if it never ran."""

    position: Position
    emitted: int
    log: Log
    is_new: bool
    lost_commits: str | None = None
    """Why no lane at all may run."""

    def reason_to_halt(self, newest_result: int | None = None) -> str | None:
        """See `worker.stream.positions.reason_to_halt`."""
        return self.lost_commits or reason_to_halt(self.position, self.emitted, self.log, newest_result)


def standing_of(
    position: Position | None,
    committed: Committed | None,
    log: Log,
    lost_commits: str | None = None,
    *,
    published: int | None = None,
) -> Standing:
    """From what both servers say of a lane; one that never ran stands at the start of its log.

    `published` tells how far results go where the group has no offset. Below the bound that Postgres has noted, all is
    out.
    """
    known = position or Position(log.first, log.first, log.first)
    emitted = max(known.emitted, published or 0) if committed is None else committed.offset
    return Standing(known, emitted, log, position is None, lost_commits)


Look = Standing | LostLane | str
"""Where a lane stands; that it is lost; or what it has to wait for."""


class LogEnds:
    """Where logs begin and end. Each leader is asked in a task of its own, so that nobody waits for a silent one."""

    def __init__(self, consumer: Consumer, topic: str, news: asyncio.Event) -> None:
        """`news` is set when an answer has come."""
        self._consumer, self._topic, self._news = consumer, topic, news
        self._asked: dict[int, asyncio.Task[dict[int, tuple[int, int]]]] = {}

    def stop(self) -> None:
        """Nothing goes on in the background."""
        for task in self._asked.values():
            task.cancel()

    def forget(self, partition: int) -> None:
        """Ask its leader anew: another worker may have gone on until now."""
        self._asked.pop(partition, None)

    async def known(self, partitions: Collection[int], seconds: float) -> dict[int, tuple[int, int]]:
        """Where those logs begin and end whose leaders have answered; each answer is told once.

        Waits for new questions, but not longer than `seconds`. A leader that did not answer is asked again next time.
        """
        new = [one for one in partitions if one not in self._asked]
        for led in self._consumer.by_leader(self._topic, new):
            task = asyncio.create_task(self._consumer.log_ends(self._topic, led), name=f"log ends of {led}")
            task.add_done_callback(lambda _: self._news.set())
            self._asked |= dict.fromkeys(led, task)
        if asking := {self._asked[one] for one in new if one in self._asked}:
            await asyncio.wait(asking, timeout=seconds)
        answered = [one for one in partitions if one in self._asked and self._asked[one].done()]
        tasks = {one: self._asked.pop(one) for one in answered}
        ends = {one: task.result() for one, task in tasks.items() if not task.cancelled() and task.exception() is None}
        return {one: found[one] for one, found in ends.items() if one in found}


async def look(
    lanes: Mapping[Lane, FencingToken],
    logs: Mapping[int, tuple[int, int]],
    forgotten: Forgotten,
    shared: LaneDependencies,
    consumer: Consumer,
) -> dict[Lane, Look]:
    """Where lanes stand, without effects. A lane that never ran stands at the start of its log.

    `logs` are where theirs begin and end. Raises what the servers do, and `UnknownTopicOrPartitionError` where the
    topic is not there any more.
    """
    group_id, topic = shared.settings.group_id, shared.settings.topic_commands
    identity = await shared.cluster.identity(topic)
    committed = await shared.cluster.committed(group_id, topic, [lane.name.partition for lane in lanes])
    all_committed = await _all_committed(shared, consumer)
    without = [at for at, one in all_committed.items() if one is None]
    published = forgotten.ends(without)
    applied = await shared.store.applied(group_id, topic)  # E first: the other lanes are at work
    positions = await shared.store.positions(lanes.values())
    if len(published) < len(without):
        own = {lane.name.partition: positions.get(token) for lane, token in lanes.items()}
        noted = {at: position.emitted for at, position in own.items() if position is not None}
        forgotten.read({at: noted.get(at, applied.get(at) or 0) for at in without})
    reason = why_commits_are_lost(all_committed, applied, published)
    looks: dict[Lane, Look] = {}
    for lane, token in lanes.items():
        partition = lane.name.partition
        emitted = committed[partition]
        if token not in positions:
            looks[lane] = LostLane([token])
        elif partition not in logs:
            looks[lane] = f"partition {partition} of {topic} has no leader that answers"
        elif isinstance(emitted, KafkaError):
            looks[lane] = f"asking for the group's offset again after {emitted}"
        elif emitted is None and partition not in published:
            looks[lane] = f"reading results of partition {partition}, for which Kafka has no offset of the group"
        else:
            position, log = positions[token], Log(identity, *logs[partition])
            end = published.get(partition, 0)
            own_reason = reason_without_offset(position.applied) if end is None and position is not None else None
            looks[lane] = standing_of(position, emitted, log, reason or own_reason, published=end)
    return looks


async def look_for_lost_commits(shared: LaneDependencies, consumer: Consumer) -> str | None:
    """Why no lane may run, where any lane has lost commits, whoever has it; by committed offsets alone."""
    committed = await _all_committed(shared, consumer)
    applied = await shared.store.applied(shared.settings.group_id, shared.settings.topic_commands)
    return why_commits_are_lost(committed, applied)


async def _all_committed(shared: LaneDependencies, consumer: Consumer) -> dict[int, Committed | None]:
    """E of every lane, whoever has it; for those at work a lower bound, which is enough to see lost commits."""
    group_id, topic = shared.settings.group_id, shared.settings.topic_commands
    committed = await shared.cluster.committed(group_id, topic, consumer.all_partitions(topic), stable=False)
    return {at: one for at, one in committed.items() if not isinstance(one, KafkaError)}
