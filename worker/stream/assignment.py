"""The group member: joins, turns assigned partitions into lanes, and feeds them what it fetches."""

import asyncio
from collections.abc import Collection
from contextlib import suppress

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import CorruptRecordException, IllegalStateError
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.messages.envelope import Record
from worker.store.port import LaneName
from worker.stream.connection import ANSWER_SECONDS, client_options, let_go
from worker.stream.lane import Lane, LaneState, Surroundings
from worker.stream.salvage import salvage

log = structlog.get_logger(__name__)

POLL_MS = 100
CLOSE_SECONDS = 4.0
"""How long lanes get to finish the batch in flight; then they are cut off, and the ledger settles what is in doubt."""

LAST_POLL_SECONDS = 1.0
"""How long a poll gets to end by itself when stopping."""

_WEEKS_MS = 2**31 - 1
_ALL = None
_SINGLY = 1000
"""So many records are read one by one in search of a bad one before the partition is read in bulk again."""


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """One membership of the consumer group; make a new one after `run` raised."""

    def __init__(self, shared: Surroundings) -> None:
        settings = shared.settings
        self._shared = shared
        self._topic = settings.topic_commands
        self.lanes: dict[TopicPartition, Lane] = {}
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self._suspects: dict[TopicPartition, int | None] = {}
        self._stopping = asyncio.Event()
        self.assigned = False
        timeout_ms = int(settings.kafka_session_timeout_seconds * 1000)
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            group_id=settings.group_id,
            enable_auto_commit=False,
            auto_offset_reset="none",  # guard B10
            isolation_level="read_committed",
            session_timeout_ms=timeout_ms,
            heartbeat_interval_ms=timeout_ms // 4,
            # While servers are away nothing is polled, and the membership must outlast that (B7); /livez watches.
            max_poll_interval_ms=_WEEKS_MS,
            max_partition_fetch_bytes=1024 * 1024,
            fetch_max_wait_ms=POLL_MS,
        )

    def stop(self) -> None:
        """Ask `run` to close all lanes and leave the group."""
        self._stopping.set()

    async def run(self) -> None:
        """Be a member of the group until stopped; raises what ends the membership otherwise."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._consumer.start()
            self._consumer.subscribe([self._topic], listener=self)
            await self._read_until_stopped()
        finally:
            self.stop()  # an assignment that still comes finds no reader
            self.assigned = False
            await self._close_lanes()
            await let_go(self._consumer.stop(), 3.0)

    # Rebalances: both callbacks return soon, aiokafka sends no heartbeats while they run (guard B2)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Eager rebalancing takes everything away; whoever gets a partition next opens it anew."""
        await self._close_lanes()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Pause, note the generation, and open in the background (guard B1)."""
        if self._stopping.is_set():
            return
        self._consumer.pause(*assigned)
        self.assigned = True
        # Public aiokafka has no way to ask for these two.
        generation, member = self._consumer._coordinator.generation, self._consumer._coordinator.member_id
        log.info("assigned", generation=generation, partitions=sorted(place.partition for place in assigned))
        for place in assigned:
            name = LaneName(self._shared.settings.group_id, place.topic, place.partition)
            lane = Lane(name, generation, member, self._shared, self)
            self.lanes[place] = lane
            self._tasks[place] = asyncio.create_task(lane.run(), name=f"lane-{place.partition}")

    async def _close_lanes(self) -> None:
        """Let batches in flight finish, for a bounded time."""
        for lane in self.lanes.values():
            lane.close()
        tasks = list(self._tasks.values())
        self.lanes, self._tasks, self._suspects = {}, {}, {}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
        for task in late:
            task.cancel()
        if late:
            log.warning("lanes_cut_off", lanes=sorted(task.get_name() for task in late))
            await asyncio.wait(late, timeout=2.0)

    # What lanes ask of the consumer

    async def log_ends(self, topic: str, partition: int) -> tuple[int, int]:
        """See `LogEnds`."""
        place = TopicPartition(topic, partition)
        async with asyncio.timeout(ANSWER_SECONDS):
            first = await self._consumer.beginning_offsets([place])
            end = await self._consumer.end_offsets([place])
        return first[place], end[place]

    def begin_at(self, topic: str, partition: int, offset: int) -> None:
        """See `LogEnds`."""
        place = TopicPartition(topic, partition)
        self._consumer.seek(place, offset)
        self._consumer.resume(place)

    # Reading

    async def _read_until_stopped(self) -> None:
        """A poll that waits for the end of a rebalance is left when stopping; else it may take for ever (guard B13)."""
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
            self._raise_what_ended_a_lane()
            open_lanes = {place: lane for place, lane in self.lanes.items() if lane.wants_records}
            if open_lanes:
                await self._poll(open_lanes)
            else:
                self._check_membership()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self._stopping.wait()

    def _raise_what_ended_a_lane(self) -> None:
        """A lane's task ends only when closed; a defect that ends it otherwise must not leave a partition alone."""
        for task in self._tasks.values():
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def _check_membership(self) -> None:
        """Raise what ended the coordination, such as a missing permission; a poll would have raised it."""
        self._consumer._coordinator.check_errors()

    async def _poll(self, open_lanes: dict[TopicPartition, Lane]) -> None:
        alone = {place: lane for place, lane in open_lanes.items() if place in self._suspects}
        try:
            together = {
                place: lane
                for place, lane in open_lanes.items()
                if place not in alone and await self._in_place(place, lane)
            }
            if together:
                await self._poll_together(together)
            for place, lane in alone.items():
                if await self._in_place(place, lane):
                    await self._poll_alone(place, lane, max(1, POLL_MS // len(alone)))
        except IllegalStateError:  # a rebalance took the partition away: its lane is being closed
            await asyncio.sleep(POLL_MS / 1000)

    async def _in_place(self, place: TopicPartition, lane: Lane) -> bool:
        """Whether the next poll follows on what the lane has: a poll that failed may have moved on (guard B1)."""
        position: int = await self._consumer.position(place)
        if position != lane.inbox.fetch_offset:
            lane.inbox.fail(f"expected the consumer at {lane.inbox.fetch_offset}, found it at {position}")
        return position == lane.inbox.fetch_offset

    async def _poll_together(self, lanes: dict[TopicPartition, Lane]) -> None:
        try:
            fetched = await self._consumer.getmany(*lanes, timeout_ms=POLL_MS)
        except IllegalStateError:
            raise
        except Exception as error:
            self._check_membership()
            log.warning("poll_failed", error=f"{type(error).__name__}: {error}")
            # One partition spoils the poll of all: read each by itself to find it (guard B8).
            self._suspects.update(dict.fromkeys(lanes, _ALL))
            return
        for place, lane in lanes.items():
            await self._feed(place, lane, fetched.get(place, []))

    async def _poll_alone(self, place: TopicPartition, lane: Lane, timeout_ms: int) -> None:
        """A suspect goes free when it has read well; one that does not is read record by record up to the bad one."""
        singly = self._suspects.get(place, _ALL)  # a rebalance acquits all
        try:
            if singly is _ALL:
                read = await self._read_on(place, lane, timeout_ms, None)
            else:
                read = await self._read_singly(place, lane, timeout_ms, singly)
        except (UnicodeDecodeError, CorruptRecordException):
            if singly is _ALL:
                self._suspects[place] = _SINGLY
            else:
                self._suspects.pop(place, None)
                await self._step_over(place, lane)
        except IllegalStateError:
            raise
        except Exception as error:
            self._suspects.pop(place, None)
            lane.inbox.fail(f"fetching failed: {type(error).__name__}: {error}")
        else:
            left = 0 if singly is _ALL else singly - read
            # Nothing read proves nothing: the fetch may wait behind another one to the same broker.
            if read and left <= 0:
                self._suspects.pop(place, None)
            elif read:
                self._suspects[place] = left

    async def _read_singly(self, place: TopicPartition, lane: Lane, timeout_ms: int, most: int) -> int:
        """Record by record, so that those in front of a bad one are not lost with it; how many there were."""
        read = 0
        while read < most and lane.wants_records and await self._read_on(place, lane, timeout_ms, 1):
            read += 1
        return read

    async def _read_on(self, place: TopicPartition, lane: Lane, timeout_ms: int, most: int | None) -> int:
        records = (await self._consumer.getmany(place, timeout_ms=timeout_ms, max_records=most)).get(place, [])
        await self._feed(place, lane, records)
        return len(records)

    async def _step_over(self, place: TopicPartition, lane: Lane) -> None:
        """Read the one bad record leniently: it gets its refusal like any other."""
        position = lane.inbox.fetch_offset
        try:
            record = await salvage(self._shared.settings, place, position)
        except Exception as error:
            lane.inbox.fail(f"offset {position} cannot be read: {type(error).__name__}: {error}")
            return
        if self._is_read_for(place, lane) and lane.inbox.fetch_offset == position:  # it may have reopened meanwhile
            log.warning("record_salvaged", partition=place.partition, offset=record.offset)
            self._consumer.seek(place, record.offset + 1)
            lane.inbox.put([record], record.offset + 1)

    def _is_read_for(self, place: TopicPartition, lane: Lane) -> bool:
        return self.lanes.get(place) is lane and lane.state in (LaneState.RUNNING, LaneState.WAITING)

    async def _feed(self, place: TopicPartition, lane: Lane, fetched: list[ConsumerRecord]) -> None:
        """Hand records to a lane, if it is still the one that was polled for."""
        if self._is_read_for(place, lane):
            lane.inbox.put([_record(one) for one in fetched], await self._consumer.position(place))
            self._measure(place, lane)

    def _measure(self, place: TopicPartition, lane: Lane) -> None:
        """Lag by position, not by commit: markers occupy offsets (guard B12)."""
        end = self._consumer.last_stable_offset(place)
        if end is not None and end >= 0 and lane.applied is not None:
            lane.measure_lag(max(0, end - lane.applied))


def _record(fetched: ConsumerRecord) -> Record:
    return Record(
        fetched.topic,
        fetched.partition,
        fetched.offset,
        fetched.timestamp,
        fetched.key,
        fetched.value,
        fetched.headers,
    )
