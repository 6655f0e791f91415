"""Reads the positions of lanes on both servers: E, then A, and the bounds of their logs."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from aiokafka.structs import TopicPartition

from worker.store.port import FencingToken, LostLane, Position
from worker.stream.cluster.leaders import name_of
from worker.stream.cluster.offset_fetch_v7 import Committed
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.forgotten import Forgotten, reason_without_offset
from worker.stream.lane import Lane
from worker.stream.positions import Halt, Log, reason_to_halt, reason_without_topic, why_commits_are_lost


@dataclass(frozen=True, slots=True)
class LanePositions:
    """A and the rest of the lane's row in Postgres, E, and the lane's log; `is_new` if the lane never ran.

    `lost_commits` says why no lane may run, if commits of any lane are lost.
    """

    position: Position
    emitted: int
    log: Log
    is_new: bool
    lost_commits: str | None = None

    def reason_to_halt(self, newest_result: int | None = None) -> str | None:
        """See `worker.stream.positions.reason_to_halt`."""
        return reason_to_halt(self.position, self.emitted, self.log, newest_result, self.lost_commits)


def positions_of(
    position: Position | None,
    committed: Committed | None,
    log: Log,
    lost_commits: str | None = None,
    *,
    published: int | None = None,
) -> LanePositions:
    """Combine the answers of both servers on a lane. A lane that never ran is at the start of its log.

    `published` is E by the results, for a lane without a committed offset. It is at least the bound that Postgres has
    noted, since all results below that are out.
    """
    known = position or Position(log.first, log.first, log.first)
    emitted = max(known.emitted, published or 0) if committed is None else committed.offset
    return LanePositions(known, emitted, log, position is None, lost_commits)


class LogEnds:
    """Asks where logs begin and end, with one task per leader, since a leader may be silent."""

    def __init__(self, consumer: Consumer, wake: asyncio.Event) -> None:
        """`wake` is set when an answer has come."""
        self._consumer, self._wake = consumer, wake
        self._asked: dict[TopicPartition, asyncio.Task[dict[TopicPartition, tuple[int, int]]]] = {}

    def stop(self) -> None:
        """Stop all background work."""
        for task in self._asked.values():
            task.cancel()

    def forget(self, partition: TopicPartition) -> None:
        """Drop the answer of its leader, since another worker may have published until now."""
        self._asked.pop(partition, None)

    async def known(
        self, partitions: Collection[TopicPartition], seconds: float
    ) -> dict[TopicPartition, tuple[int, int]]:
        """Return the first offset and the end of logs whose leaders have answered. Each answer is returned once.

        Waits up to `seconds` for answers to new requests. A leader that failed is asked again next time.
        """
        new = [partition for partition in partitions if partition not in self._asked]
        for led in self._consumer.by_leader(new):
            task = asyncio.create_task(self._consumer.log_ends(led), name=f"log ends of {', '.join(map(name_of, led))}")
            task.add_done_callback(lambda _: self._wake.set())
            self._asked |= dict.fromkeys(led, task)
        if asking := {self._asked[partition] for partition in new if partition in self._asked}:
            await asyncio.wait(asking, timeout=seconds)
        ends: dict[TopicPartition, tuple[int, int]] = {}
        for partition in partitions:
            answer = self._asked.get(partition)
            if answer is None or not answer.done():
                continue
            del self._asked[partition]
            if not answer.cancelled() and answer.exception() is None and partition in answer.result():
                ends[partition] = answer.result()[partition]
        return ends


async def read_positions(
    lanes: Mapping[Lane, FencingToken],
    logs: Mapping[TopicPartition, tuple[int, int]],
    forgotten: Forgotten,
    shared: LaneDependencies,
    consumer: Consumer,
) -> dict[Lane, LanePositions | LostLane | Halt | str]:
    """Read the positions of lanes. `logs` has the first offset and the end of their logs.

    A lane gets `LostLane` if its token is no longer good, `Halt` if its topic is gone or its results may not be read,
    or a reason to wait. Raises the errors of both servers.
    """
    group_id = shared.settings.group_id
    identities = await shared.cluster.identities({lane.name.topic for lane in lanes})
    committed = await shared.cluster.committed(group_id, [lane.partition for lane in lanes])
    # Taken before A is read: a later reading could be beyond A although no commit is lost.
    readings = forgotten.readings
    all_committed, applied = await _all_positions(shared, consumer)
    without_offset = [partition for partition, offset in all_committed.items() if offset is None]
    positions = await shared.store.positions(lanes.values())
    noted = {lane.partition: known.emitted for lane, token in lanes.items() if (known := positions.get(token))}
    # Results of lanes that are not being placed only show lost commits, so they are read from A on. Such a reading says
    # nothing about E of its lane: for that, a reading must begin at the lane's noted bound or before.
    starts = {at: noted.get(at, applied.get(at) or 0) for at in without_offset}
    published = {at: readings[at].end for at, start in starts.items() if at in readings and readings[at].start <= start}
    forgotten.read({at: start for at, start in starts.items() if at not in published})
    lost_commits = why_commits_are_lost(all_committed, applied, {at: readings[at].end for at in readings})
    answers: dict[Lane, LanePositions | LostLane | Halt | str] = {}
    for lane, token in lanes.items():
        partition = lane.partition
        emitted, identity = committed[partition], identities[lane.name.topic]
        if token not in positions:
            answers[lane] = LostLane([token])
        elif isinstance(identity, UnknownTopicOrPartitionError):
            answers[lane] = Halt(reason_without_topic(lane.name.topic))
        elif isinstance(identity, KafkaError):
            answers[lane] = f"asking for the id of the topic again after {identity}"
        elif partition not in logs:
            answers[lane] = f"{name_of(partition)} has no leader that answers"
        elif isinstance(emitted, KafkaError):
            answers[lane] = f"asking for the group's offset again after {emitted}"
        elif emitted is None and partition not in published:
            answers[lane] = f"reading the results of {name_of(partition)}, for which Kafka has no offset of the group"
        else:
            position, log, end = positions[token], Log(identity, *logs[partition]), published.get(partition, 0)
            # None: we may not read results. A lane that never ran has none, so it may begin anyway.
            if end is None and position is not None and lost_commits is None:
                answers[lane] = Halt(reason_without_offset(position.applied))
            else:
                answers[lane] = positions_of(position, emitted, log, lost_commits, published=end)
    return answers


async def look_for_lost_commits(shared: LaneDependencies, consumer: Consumer) -> str | None:
    """Say why no lane may run, if any lane has lost commits by its committed offset."""
    return why_commits_are_lost(*await _all_positions(shared, consumer))


async def look_for_lost_results(shared: LaneDependencies, forgotten: Forgotten) -> str | None:
    """Say why no lane may run, if any lane has lost commits by the results that were read."""
    published = {at: reading.end for at, reading in forgotten.readings.items()}
    applied = await shared.store.applied(shared.settings.group_id, shared.settings.by_commands)
    return why_commits_are_lost({}, applied, published)


async def _all_positions(
    shared: LaneDependencies, consumer: Consumer
) -> tuple[dict[TopicPartition, Committed | None], dict[tuple[str, int], int | None]]:
    """E, then A, of every lane of the group, also of topics in the database that nobody serves any longer.

    A lane at work may move meanwhile; a lower bound of E is enough to see lost commits.
    """
    group_id, served = shared.settings.group_id, shared.settings.by_commands
    offsets = await shared.cluster.all_committed(group_id)
    # E must come before A. In the other order, each turn of another lane in between would look like lost commits.
    applied = await shared.store.applied(group_id, {*served, *(at.topic for at in offsets)})
    # Channels that nobody serves count, too: other channels could create their lost passports again. A topic that the
    # database does not know may belong to another installation with the same group.
    known = {*served, *(topic for topic, _ in applied)}
    committed: dict[TopicPartition, Committed | None] = dict.fromkeys(consumer.all_partitions())
    return committed | {at: offset for at, offset in offsets.items() if at.topic in known}, applied
