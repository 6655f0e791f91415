"""Reading records for lanes: polls that name their partitions, and the search for a record that spoils them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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


class _Poll(NamedTuple):
    """One lane in one poll. Records go to this lane only, and only if it did not restart since the poll began.

    A session may fail and open its lanes anew during any await. Records of before would then reach the lane after it,
    out of order or twice, and the offset does not tell: a lane may reopen where it stood (guard B21).
    """

    place: TopicPartition
    lane: Lane
    restarts: int

    @property
    def is_current(self) -> bool:
        """Whether the lane still waits for what this poll fetches."""
        inbox = self.lane.inbox
        return self.lane.is_at_work and inbox.failure is None and inbox.restarts == self.restarts


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
        polls = [_Poll(place, lane, lane.inbox.restarts) for place, lane in open_lanes.items()]
        alone = [one for one in polls if one.place in self._quarantine]
        others = [one for one in polls if one.place not in self._quarantine]
        # Public aiokafka cannot tell; to ask each partition of many for what is not there takes more than to read.
        fetched = self._consumer._fetcher._records
        ready = [one for one in others if one.place in fetched]
        try:
            together = [one for one in ready or others if await self._in_place(one)]
            if together:
                await self._poll_together(together, 0 if ready else POLL_MS)
            for one in alone:
                if await self._in_place(one):
                    await self._poll_alone(one, max(1, POLL_MS // len(alone)))
        except IllegalStateError:  # a rebalance took the partition away: its lane is being closed
            await asyncio.sleep(POLL_MS / 1000)

    async def _in_place(self, poll: _Poll) -> bool:
        """Whether the next poll follows on what the lane has: a poll that failed may have moved on (guard B1)."""
        position: int = await self._consumer.position(poll.place)
        inbox = poll.lane.inbox
        if poll.is_current and position != inbox.fetch_offset:
            inbox.fail(f"expected the consumer at {inbox.fetch_offset}, found it at {position}")
        return poll.is_current and position == inbox.fetch_offset

    async def _poll_together(self, polls: Sequence[_Poll], timeout_ms: int) -> None:
        """One after the other, since records take far more memory than their bytes; together only to wait for more."""
        try:
            if not timeout_ms:
                for poll in polls:
                    await self._read_on(poll, 0, None)
                return
            fetched = await self._fetch(*(poll.place for poll in polls), timeout_ms=timeout_ms)
        except IllegalStateError:
            raise
        except Exception as error:
            self.check_membership()
            log.warning("poll_failed", error=f"{type(error).__name__}: {error}")
            # One partition spoils the poll of all: read each by itself to find it (guard B8).
            self._quarantine.suspect([poll.place for poll in polls])
            return
        for poll in polls:
            await self._feed(poll, fetched.get(poll.place, []))

    async def _poll_alone(self, poll: _Poll, timeout_ms: int) -> None:
        """A suspect goes free when it has read well; one that does not is read record by record up to the bad one."""
        place = poll.place
        singly = self._quarantine.left(place)
        try:
            if singly:
                read = await self._read_singly(poll, timeout_ms, singly)
            else:
                read = await self._read_on(poll, timeout_ms, None)
        except (UnicodeDecodeError, CorruptRecordException):
            if singly:
                self._quarantine.acquit(place)
                await self._step_over(poll)
            else:
                self._quarantine.convict(place)
        except IllegalStateError:
            raise
        except Exception as error:
            self._quarantine.acquit(place)
            if poll.is_current:
                poll.lane.inbox.fail(f"fetching failed: {type(error).__name__}: {error}")
        else:
            self._quarantine.has_read(place, read)

    async def _read_singly(self, poll: _Poll, timeout_ms: int, most: int) -> int:
        """Record by record, so that those in front of a bad one are not lost with it; how many there were."""
        read = 0
        while read < most and poll.lane.wants_records and await self._read_on(poll, timeout_ms, 1):
            read += 1
        return read

    async def _read_on(self, poll: _Poll, timeout_ms: int, most: int | None) -> int:
        records = (await self._fetch(poll.place, timeout_ms=timeout_ms, max_records=most)).get(poll.place, [])
        await self._feed(poll, records)
        return len(records)

    async def _fetch(self, *places: TopicPartition, **options: Any) -> dict[TopicPartition, list[ConsumerRecord]]:
        """What there is, unless it is another topic's."""
        fetched: dict[TopicPartition, list[ConsumerRecord]] = await self._consumer.getmany(*places, **options)
        return fetched if await self._watch.may_use() else {}

    async def _step_over(self, poll: _Poll) -> None:
        """Read the one bad record leniently: it gets its refusal like any other."""
        place, inbox = poll.place, poll.lane.inbox
        position = inbox.fetch_offset
        try:
            record = await fetch_leniently(self._settings, place, position)
            is_ours = await self._watch.may_use()
        except Exception as error:
            if poll.is_current:
                inbox.fail(f"offset {position} cannot be read: {type(error).__name__}: {error}")
            return
        if is_ours and self._is_read_for(poll):
            log.warning("record_read_leniently", partition=place.partition, offset=record.offset)
            self._consumer.seek(place, record.offset + 1)
            inbox.put([without_excess(record, self._settings.limits)], record.offset + 1)

    def _is_read_for(self, poll: _Poll) -> bool:
        return self._lanes.get(poll.place) is poll.lane and poll.is_current

    async def _feed(self, poll: _Poll, fetched: list[ConsumerRecord]) -> None:
        """Hand records to a lane, if it still waits for just these."""
        limits = self._settings.limits
        records = [without_excess(record_of(one), limits) for one in fetched]
        position = await self._consumer.position(poll.place)
        if self._is_read_for(poll):  # no await may come between this and `put`
            poll.lane.inbox.put(records, position)
            self._measure(poll)
        elif records and self._lanes.get(poll.place) is poll.lane and poll.lane.is_at_work:
            # These may be the first records of a lane that was opened anew: they are fetched again.
            self._consumer.seek(poll.place, poll.lane.inbox.fetch_offset)

    def _measure(self, poll: _Poll) -> None:
        """Lag by position, not by commit: markers occupy offsets (guard B12)."""
        end = self._consumer.last_stable_offset(poll.place)
        if end is not None and end >= 0:
            poll.lane.lag.log_end = end
