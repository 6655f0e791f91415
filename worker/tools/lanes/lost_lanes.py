"""Finds lanes that lost commits, how far their results were published, and what prevents their recovery."""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from worker.domain.command import Source
from worker.domain.places import Place
from worker.observability.hooks import outcome_name
from worker.store.port import TopicIdentity
from worker.stream.cluster.offset_fetch_v7 import UnstableOffset
from worker.stream.positions import other_topic
from worker.stream.published import before
from worker.tools.common.connected import Connected
from worker.tools.common.findings import Findings
from worker.tools.common.group_view import PartitionView, group_view, has_members
from worker.tools.common.history import NAMED_TO_THE_END, history
from worker.tools.common.inspection import position_in
from worker.tools.common.report import Problem
from worker.tools.common.result_record import known_answer
from worker.tools.common.selection import chosen_partitions
from worker.tools.lanes.recovery_plan import MOST_PLACES, ledger_rows
from worker.tools.lanes.restored_command import RestoredCommand

# A verb looks up to `LOOKS` times, `LOOK_SECONDS` apart, at a transaction that may just be ending.
LOOKS, LOOK_SECONDS = 20, 0.25


@dataclass(slots=True)
class LaneWithLostCommits:
    """A lane that may have lost commits. Recovery restores its commands from A to below `target`, if there are any.

    `channel` has the topics of the lane's channel.
    `applied` is A, and `emitted` is E, if the group has one. `published_end` is one past the newest command that has a
    visible result; results are read from `since` on. `has_written` once a part may be restored.
    """

    channel: Connected
    partition: int
    applied: int
    emitted: int | None
    published_end: int
    since: datetime
    lane_id: int | None
    refusals: Findings = field(default_factory=lambda: Findings(MOST_PLACES))
    outcomes: Counter[str] = field(default_factory=Counter)
    dead_letters: int = 0
    charges: int = 0
    keys_bound: int = 0
    has_written: bool = False

    @property
    def topic(self) -> str:
        """The command topic."""
        return self.channel.settings.topic_commands

    @property
    def name(self) -> str:
        """The lane in messages: `partition 3`, or `acme partition 3` on another channel than the default."""
        return f"{self.channel.settings.channel} partition {self.partition}".lstrip()

    @property
    def target(self) -> int:
        """The offset after everything that was published."""
        return max(self.published_end, self.emitted or 0)

    @property
    def to_restore(self) -> int:
        """How many offsets have to be restored; 0 for a lane that lost nothing."""
        return max(0, self.target - self.applied)

    def count(self, command: RestoredCommand) -> None:
        """Count a command that is to be restored."""
        self.outcomes[outcome_name(command.answer)] += 1
        self.dead_letters += command.answer.dead_letter is not None
        if command.created is not None:
            self.charges += command.created.overage_price_cents is not None
            self.keys_bound += command.created.idempotency_key is not None

    def refuse(self, code: str, offset: int, text: str, times: int = 1) -> None:
        """Note why the lane cannot be recovered."""
        self.refusals.add(code, Place(self.topic, self.partition, offset), text, times)


async def find_lost_lanes(
    both: Connected, partitions: Sequence[int], search_from: datetime | None
) -> list[LaneWithLostCommits]:
    """The chosen lanes of a channel, or all, each with how far its results go and what prevents its recovery.

    Raises `CLUSTER_ERRORS`, `DATABASE_ERRORS` and `BadSelection`.
    """
    settings, topic = both.settings, both.settings.topic_commands
    view = await group_view(settings, both.cluster)
    chosen = chosen_partitions(partitions, view)
    rows = await both.database.lanes(settings.group_id, topic)
    logs = {at: view[at].log for at in chosen if view[at].log.end > view[at].log.first}
    # If A is at the end of the log, the time of the last record will do. Without a time, all results would be read.
    oldest = {at: min(position_in(rows.get(at)).applied, log.end - 1) for at, log in logs.items()}
    ages = await both.reader.appended_at(topic, oldest)
    since = {at: search_from or before(settings, ages.get(at, 0)) for at in chosen}
    stable = await offsets_once_stable(both, chosen)
    published = {at: await published_end(both, at, since[at]) for at in chosen}
    # A again, after E and the results: the other way around, each turn in between would look like lost commits.
    rows = await both.database.lanes(settings.group_id, topic)
    is_active = await has_members(both.cluster, settings.group_id)
    # The row of a lane that never ran has no topic id; those of its neighbours do.
    known = next((id for row in rows.values() if (id := position_in(row).topic) is not None), None)
    lanes = []
    for at in chosen:
        row = rows.get(at)
        applied, lane_id = position_in(row).applied, None if row is None else row.id
        lane = LaneWithLostCommits(both, at, applied, stable.get(at), published[at], since[at], lane_id)
        if at not in stable:
            text = "a transaction is open that may still move the group's offset"
            lane.refuse("open-transaction", lane.applied, text)
        if lane.to_restore:
            await _note_obstacles(lane, view[at], position_in(row).topic or known, is_active=is_active)
        lanes.append(lane)
    return lanes


async def lanes_not_served(channels: Sequence[Connected], served: Collection[str]) -> list[Problem]:
    """Lanes that lost commits, of topics that are neither recovered now nor `served`.

    Their passports would be forgotten, and other channels could create them a second time. An older database may not
    know such a lane. Raises `CLUSTER_ERRORS` and `DATABASE_ERRORS`.
    """
    both, topics = channels[0], {*served, *(channel.settings.topic_commands for channel in channels)}
    offsets = await both.cluster.all_committed(both.settings.group_id)
    rows = await both.database.lanes_of_group(both.settings.group_id)
    return [
        Problem(
            code="channel-not-served",
            place=f"{at.topic}/{at.partition}",
            text=f"E is {offset.offset}, and A is {applied}: results were published that Postgres does not know, and "
            "no channel of the settings has this topic. Name its channel in PASSPORT_CHANNELS, and run it again. Or "
            "ignore it with --allow channel-not-served: its units may then get a second passport.",
        )
        for at, offset in sorted(offsets.items())
        # Other tools set offsets without the text of the workers. Such an offset proves nothing about results.
        if at.topic not in topics and offset.is_ours and offset.offset > (applied := position_in(rows.get(at)).applied)
    ]


async def _note_obstacles(
    lane: LaneWithLostCommits, view: PartitionView, topic: TopicIdentity | None, *, is_active: bool
) -> None:
    log, applied = view.log, lane.applied
    # Otherwise the database of production, pointed at the Kafka of a test, would take over the test's passports.
    if (other := other_topic(topic, log.topic)) is not None:
        lane.refuse("other-topic", applied, f"{other}: another database answered what was published here")
        return
    if log.end < lane.target:
        text = f"the log ends at {log.end}, and results were published up to {lane.target - 1}"
        lane.refuse("log-shorter", log.end, text)
    if log.first > applied:
        lane.refuse("command-expired", applied, f"the log starts at {log.first}")
    # While E is below the results, a running worker notices nothing: recovery moves A past E, which looks normal.
    if is_active and (lane.emitted or 0) < lane.published_end:
        text = "its worker cannot see that commits are lost: stop all workers until it is recovered"
        lane.refuse("group-active", applied, text)
    if lane.lane_id is not None:
        # A transaction writes rows and moves A at once, so no worker leaves rows from A on. Somebody edited a table.
        rows, first = await ledger_rows(lane.channel.database.connection, lane.lane_id, applied, lane.target)
        if rows:
            text = "the ledger has answers beyond its lane's position"
            lane.refuse("ledger-not-empty", first or applied, text, rows)


async def moved_lanes(both: Connected, lanes: Sequence[LaneWithLostCommits]) -> list[LaneWithLostCommits]:
    """The lanes of a channel whose offset in the group has changed since, below what was published: by hand.

    A worker that runs once its lane is recovered moves the offset further than that.
    """
    stable = await offsets_once_stable(both, [lane.partition for lane in lanes])
    return [
        lane
        for lane in lanes
        if lane.partition in stable
        and stable[lane.partition] != lane.emitted
        and (stable[lane.partition] or 0) < lane.target
    ]


async def offsets_once_stable(both: Connected, partitions: Collection[int]) -> dict[int, int | None]:
    """E of the partitions that have no open transaction now or soon; None if the group has no offset.

    Each transaction of a running worker makes offsets unstable for a moment, and markers of fenced ones come late.
    Raises `CLUSTER_ERRORS`.
    """
    settings, stable = both.settings, dict[int, int | None]()
    for _ in range(LOOKS):
        left = [TopicPartition(settings.topic_commands, at) for at in partitions if at not in stable]
        if not left:
            break
        for (_, partition), offset in (await both.cluster.committed(settings.group_id, left)).items():
            if isinstance(offset, UnstableOffset):
                continue
            if isinstance(offset, KafkaError):
                raise offset
            stable[partition] = None if offset is None else offset.offset
        await asyncio.sleep(LOOK_SECONDS if len(stable) < len(partitions) else 0)
    return stable


async def published_end(both: Connected, partition: int, since: datetime) -> int:
    """The offset after the newest command of a partition that a result since then names; 0 without such a result.

    Records that no worker writes do not count: they may name any command. Raises `CLUSTER_ERRORS`.
    """
    logs, end = await history(both.reader, both.topics, partition, (0, 0), since), 0
    async for kind, named in logs.named(NAMED_TO_THE_END):
        # Newest first, since most chunks then need only one look.
        for cause, record in sorted(named, key=lambda named: named.cause, reverse=True):
            # A dead letter is published with a result, in one transaction, so it adds nothing.
            if kind is None or cause < end:
                break
            # A stranger's record may name command 99999: lanes with such a target could never be recovered or reset.
            if known_answer(record, kind, Source(logs.topic, partition, cause, record.timestamp_ms)) is not None:
                end = cause + 1
    return end
