"""Reading records for lanes: polls that name their partitions, and the search for a record that spoils them."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException, IllegalStateError
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.messages.envelope import without_excess
from worker.settings import Settings
from worker.stream.cluster.topic_watch import TopicWatch
from worker.stream.fetched import record_of
from worker.stream.lane import Lane
from worker.stream.lenient_fetch import fetch_leniently
from worker.stream.quarantine import Quarantine

log = structlog.get_logger(__name__)

POLL_MS = 100


class Reader:
    """Polls one consumer for the lanes that are assigned now; `lanes` is the assignment's own, and changes."""

    def __init__(
        self, consumer: AIOKafkaConsumer, lanes: Mapping[TopicPartition, Lane], settings: Settings, watch: TopicWatch
    ) -> None:
        self._consumer = consumer
        self._lanes = lanes
        self._settings = settings
        self._watch = watch
        self._quarantine = Quarantine()

    def acquit_all(self) -> None:
        """Forget which partitions are under suspicion: they are read by somebody else now, or anew."""
        self._quarantine.acquit_all()

    def check_membership(self) -> None:
        """Raise what ended the coordination, such as a missing permission; a poll would have raised it."""
        self._consumer._coordinator.check_errors()

    async def poll(self, open_lanes: dict[TopicPartition, Lane]) -> None:
        """Feed these lanes with what there is, waiting a moment where there is nothing."""
        alone = {place: lane for place, lane in open_lanes.items() if place in self._quarantine}
        others = {place: lane for place, lane in open_lanes.items() if place not in alone}
        # Public aiokafka cannot tell; to ask each partition of many for what is not there takes more than to read.
        fetched = self._consumer._fetcher._records
        ready = {place: lane for place, lane in others.items() if place in fetched}
        try:
            together = {place: lane for place, lane in (ready or others).items() if await self._in_place(place, lane)}
            if together:
                await self._poll_together(together, 0 if ready else POLL_MS)
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

    async def _poll_together(self, lanes: dict[TopicPartition, Lane], timeout_ms: int) -> None:
        """One after the other, since records take far more memory than their bytes; together only to wait for more."""
        try:
            if not timeout_ms:
                for place, lane in lanes.items():
                    await self._read_on(place, lane, 0, None)
                return
            fetched = await self._fetch(*lanes, timeout_ms=timeout_ms)
        except IllegalStateError:
            raise
        except Exception as error:
            self.check_membership()
            log.warning("poll_failed", error=f"{type(error).__name__}: {error}")
            # One partition spoils the poll of all: read each by itself to find it (guard B8).
            self._quarantine.suspect(lanes)
            return
        for place, lane in lanes.items():
            await self._feed(place, lane, fetched.get(place, []))

    async def _poll_alone(self, place: TopicPartition, lane: Lane, timeout_ms: int) -> None:
        """A suspect goes free when it has read well; one that does not is read record by record up to the bad one."""
        singly = self._quarantine.left(place)
        try:
            if singly:
                read = await self._read_singly(place, lane, timeout_ms, singly)
            else:
                read = await self._read_on(place, lane, timeout_ms, None)
        except (UnicodeDecodeError, CorruptRecordException):
            if singly:
                self._quarantine.acquit(place)
                await self._step_over(place, lane)
            else:
                self._quarantine.convict(place)
        except IllegalStateError:
            raise
        except Exception as error:
            self._quarantine.acquit(place)
            lane.inbox.fail(f"fetching failed: {type(error).__name__}: {error}")
        else:
            self._quarantine.has_read(place, read)

    async def _read_singly(self, place: TopicPartition, lane: Lane, timeout_ms: int, most: int) -> int:
        """Record by record, so that those in front of a bad one are not lost with it; how many there were."""
        read = 0
        while read < most and lane.wants_records and await self._read_on(place, lane, timeout_ms, 1):
            read += 1
        return read

    async def _read_on(self, place: TopicPartition, lane: Lane, timeout_ms: int, most: int | None) -> int:
        records = (await self._fetch(place, timeout_ms=timeout_ms, max_records=most)).get(place, [])
        await self._feed(place, lane, records)
        return len(records)

    async def _fetch(self, *places: TopicPartition, **options: Any) -> dict[TopicPartition, list[ConsumerRecord]]:
        """What there is, unless it is another topic's."""
        fetched: dict[TopicPartition, list[ConsumerRecord]] = await self._consumer.getmany(*places, **options)
        return fetched if await self._watch.confirm() else {}

    async def _step_over(self, place: TopicPartition, lane: Lane) -> None:
        """Read the one bad record leniently: it gets its refusal like any other."""
        position = lane.inbox.fetch_offset
        try:
            record = await fetch_leniently(self._settings, place, position)
            is_ours = await self._watch.confirm()
        except Exception as error:
            lane.inbox.fail(f"offset {position} cannot be read: {type(error).__name__}: {error}")
            return
        still_there = self._is_read_for(place, lane) and lane.inbox.fetch_offset == position  # it may have reopened
        if is_ours and still_there:
            log.warning("record_read_leniently", partition=place.partition, offset=record.offset)
            self._consumer.seek(place, record.offset + 1)
            lane.inbox.put([without_excess(record, self._settings.limits)], record.offset + 1)

    def _is_read_for(self, place: TopicPartition, lane: Lane) -> bool:
        return self._lanes.get(place) is lane and lane.is_at_work

    async def _feed(self, place: TopicPartition, lane: Lane, fetched: list[ConsumerRecord]) -> None:
        """Hand records to a lane, if it is still the one that was polled for."""
        if self._is_read_for(place, lane):
            limits = self._settings.limits
            records = [without_excess(record_of(one), limits) for one in fetched]
            lane.inbox.put(records, await self._consumer.position(place))
            self._measure(place, lane)

    def _measure(self, place: TopicPartition, lane: Lane) -> None:
        """Lag by position, not by commit: markers occupy offsets (guard B12)."""
        end = self._consumer.last_stable_offset(place)
        if end is not None and end >= 0:
            lane.lag.log_end = end
