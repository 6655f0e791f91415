"""The group member: joins the group, makes a lane of each assigned partition, and feeds it the records it fetches."""

import asyncio
from collections.abc import Callable, Collection

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.structs import TopicPartition

from worker.store.port import LaneName
from worker.stream.aiokafka_internals import check_membership, client_of, membership_of, pause_after_fetches
from worker.stream.background import Background, StrayCancellation, is_set_within
from worker.stream.cluster.connection import ANSWER_SECONDS, client_options, close_within
from worker.stream.cluster.leaders import name_of, partitions_by_leader
from worker.stream.cluster.topic_watch import TopicWatch
from worker.stream.dependencies import LaneDependencies
from worker.stream.inbox import Budget, Inbox
from worker.stream.lag_survey import survey
from worker.stream.lane import Lane
from worker.stream.lane_positions import look_for_lost_commits
from worker.stream.reader import POLL_MS, Reader
from worker.stream.sessions import Sessions

log = structlog.get_logger(__name__)

# How long a poll may take to end when the worker stops.
LAST_POLL_SECONDS = 0.5
# The limit of one lane in a fetch answer: as much as a batch takes, to save memory.
FETCH_BYTES = 256 * 1024
# The limit of a fetch answer. aiokafka holds several copies of an answer while it decodes it.
FETCH_ALL_BYTES = 1024 * 1024
# The limit of all lanes together for records whose results are not visible yet.
HELD_BYTES = 12 * 1024 * 1024
# How soon the reader looks again while no lane wants records.
IDLE_SECONDS = 0.02
# How often E of all lanes is compared with A. In between, a worker may decide without passports that were lost.
LOST_COMMITS_SECONDS = 3.0

_WEEKS_MS = 2**31 - 1


class GroupMembership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """One membership of the consumer group. Make a new one after `run` has raised."""

    def __init__(self, shared: LaneDependencies) -> None:
        settings = shared.settings
        self._shared = shared
        self._topics = [*settings.by_commands]
        self.lanes: dict[TopicPartition, Lane] = {}
        self._sessions: Sessions | None = None
        # The sessions of the last assignment that ended, and the task that closes them.
        self._ended: Sessions | None = None
        self._closing: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        # Whether the group has finished a rebalance; a surplus worker may still have no partition.
        self.assigned = False
        timeout_ms = int(settings.kafka_session_timeout_seconds * 1000)
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            # No `group_instance_id`: aiokafka's static membership is half done (guard B11).
            group_id=settings.group_id,
            # Only the transaction that publishes results may move E.
            enable_auto_commit=False,
            auto_offset_reset="none",  # guard B10
            isolation_level="read_committed",
            session_timeout_ms=timeout_ms,
            heartbeat_interval_ms=timeout_ms // 4,
            # Nothing is polled while servers are away, and the membership must outlast that (guard B7).
            max_poll_interval_ms=_WEEKS_MS,
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_bytes=FETCH_ALL_BYTES,
            fetch_max_wait_ms=POLL_MS,
        )
        self._client = client_of(self._consumer)
        self._end_pauses: Callable[[], None]  # once the consumer has started
        self.topic_watch = TopicWatch(shared.cluster, self._topics, self._client, self._reopen_lanes)
        self._reader = Reader(self._consumer, self.lanes, settings, self.topic_watch)

    def stop(self) -> None:
        """Ask `run` to close all lanes and leave the group."""
        self._stopping.set()

    async def run(self) -> None:
        """Be a member of the group until stopped. Raises the error that ends the membership before."""
        background = Background()
        background.start("survey", lambda: survey(self.lanes, self, self._shared))
        background.start("topic-watch", self.topic_watch.watch)
        background.start("lost-commits", self._watch_for_lost_commits)
        try:
            await self.topic_watch.begin()
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._consumer.start()
            self._end_pauses = pause_after_fetches(self._consumer)
            self._consumer.subscribe(self._topics, listener=self)
            await self._read_until_stopped()
        finally:
            self.stop()  # an assignment may still come, but nobody would read for it
            background.stop()
            # Close lanes before leaving the group: the next owner would fence turns that are still in flight.
            await self._close_lanes()
            if self._ended is not None:
                await self._ended.fence_cut_off()
            await close_within(self._consumer.stop(), 2.0)

    # Rebalances: both callbacks must return soon, since aiokafka sends no heartbeats while they run (guard B2)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Close all lanes: eager rebalancing takes all partitions away, and the next owners open them."""
        await self._close_lanes()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Pause the partitions, note the generation, and open lanes in the background (guard B1)."""
        if self._stopping.is_set():
            return
        self._consumer.pause(*assigned)
        self.assigned = True
        generation, member = membership_of(self._consumer)
        self._shared.hooks.assigned(generation, len(assigned))
        log.info("assigned", generation=generation, partitions=[*map(name_of, sorted(assigned))])
        settings, budget = self._shared.settings, Budget(HELD_BYTES, len(assigned))
        for topic_partition in assigned:
            name = LaneName(settings.group_id, topic_partition.topic, topic_partition.partition)
            self.lanes[topic_partition] = Lane(name, Inbox(settings.batch_records, budget), self._shared.hooks)
        self._sessions = Sessions(list(self.lanes.values()), generation, member, self._shared, self)

    def _reopen_lanes(self, topic: str) -> None:
        """Open all lanes of a topic again. The opening finds out what became of the topic."""
        for lane in self.lanes.values():
            if lane.name.topic == topic:
                lane.inbox.fail(f"the topic {topic} was deleted or created again")

    async def _watch_for_lost_commits(self) -> None:
        """Halt all lanes soon after results became visible that Postgres does not hold, whoever published them.

        Each opening looks for lost commits, but it may look too early: Postgres may fail over to a replica that lacks
        a commit whose results are still on their way to Kafka. Also, one worker may be left with the old primary.
        """
        while True:
            await asyncio.sleep(LOST_COMMITS_SECONDS)
            if not any(lane.is_at_work for lane in self.lanes.values()):
                continue
            try:
                reason = await look_for_lost_commits(self._shared, self)
            except Exception as error:  # a server is away, which `watch-servers` reports
                log.debug("lost_commits_cannot_be_looked_for", error=f"{type(error).__name__}: {error}")
                continue
            for lane in self.lanes.values() if reason is not None else ():
                if lane.is_at_work:
                    lane.inbox.fail(f"lost commits: {reason}")

    async def _close_lanes(self) -> None:
        """Let turns in flight end, for a bounded time. This member has no partitions from now on."""
        # Before any await, since turns may take seconds to end: `/readyz` must not say ready during a rebalance.
        self.assigned = False
        self._shared.hooks.unassigned()
        self.lanes.clear()
        if self._sessions is not None:
            self._ended, self._sessions = self._sessions, None
            self._closing = asyncio.create_task(self._ended.close(), name="close lanes")
        # A rebalance and a stop may come together. Both wait for the same closing.
        if self._closing is not None:
            await asyncio.shield(self._closing)

    # The consumer, as sessions use it

    def by_leader(self, partitions: Collection[TopicPartition]) -> list[list[TopicPartition]]:
        """See `Consumer`."""
        led, without = partitions_by_leader(self._client, partitions)
        if without:
            self._client.force_metadata_update()
        return list(led.values())

    async def log_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """See `Consumer`."""
        led = [partition for group in self.by_leader(partitions) for partition in group]
        if not led:
            return {}
        async with asyncio.timeout(ANSWER_SECONDS):
            firsts = await self._consumer.beginning_offsets(led)
            ends = await self._consumer.end_offsets(led)
        return {partition: (firsts[partition], ends[partition]) for partition in led}

    def all_partitions(self) -> Collection[TopicPartition]:
        """See `Consumer`."""
        known = {
            TopicPartition(topic, partition)
            for topic in self._topics
            for partition in self._consumer.partitions_for_topic(topic) or ()
        }
        return {*known, *self.lanes}  # the metadata may be older than the assignment

    def begin_at(self, partition: TopicPartition, offset: int) -> None:
        """See `Consumer`."""
        self._consumer.seek(partition, offset)
        self._consumer.resume(partition)

    def fetch_for_next_turn(self) -> None:
        """See `Consumer`."""
        self._end_pauses()

    # Reading

    async def _read_until_stopped(self) -> None:
        """Read until the worker stops. A poll that waits for the end of a rebalance is then abandoned (guard B13)."""
        reading = asyncio.create_task(self._read(), name="reader")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({reading}, timeout=LAST_POLL_SECONDS)
            if reading.done():
                reading.result()
        finally:
            reading.cancel()
            stopping.cancel()
            await asyncio.wait({reading, stopping}, timeout=LAST_POLL_SECONDS)

    async def _read(self) -> None:
        """Poll open lanes by name and never cancel a poll (guards B7 and B13)."""
        while not self._stopping.is_set():
            self._raise_what_ended_a_session()
            open_lanes = {topic_partition: lane for topic_partition, lane in self.lanes.items() if lane.wants_records}
            if open_lanes:
                await self._reader.poll(open_lanes)
            else:
                check_membership(self._consumer)
                await is_set_within(self._stopping, IDLE_SECONDS)

    def _raise_what_ended_a_session(self) -> None:
        """Raise if a session's task has ended although nobody closed it.

        This is a defect, and nobody would answer the commands of its partitions.
        """
        for task in self._sessions.tasks if self._sessions is not None else ():
            if task.cancelled():
                raise StrayCancellation(f"{task.get_name()} was cancelled")
            if task.done():
                raise task.exception() or RuntimeError(f"{task.get_name()} ended")
