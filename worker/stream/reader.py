"""Reading records for lanes, from one partition after the other."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IllegalStateError
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.messages.envelope import without_excess
from worker.settings import Settings
from worker.stream.aiokafka_internals import check_membership, fetched_partitions, wait_for_fetch
from worker.stream.cluster.topic_watch import TopicWatch
from worker.stream.fetched import record_of
from worker.stream.lane import Lane

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

    def check_membership(self) -> None:
        """Raise what ended the coordination, such as a missing permission; a poll would have raised it."""
        check_membership(self._consumer)

    async def poll(self, open_lanes: dict[TopicPartition, Lane]) -> None:
        """Hand these lanes the records that were fetched for them, or wait a moment for some."""
        polls = [_Poll(place, lane, lane.inbox.restarts) for place, lane in open_lanes.items()]
        try:
            in_place = [poll for poll in polls if await self._in_place(poll)]
            fetched = fetched_partitions(self._consumer)
            ready = [poll for poll in in_place if poll.place in fetched]
            # One partition after the other: decoded records take far more memory than their bytes, and a partition that
            # cannot be read must not take the records of others with it (guard B18).
            for poll in ready:
                await self._read(poll)
            if in_place and not ready:
                await wait_for_fetch(self._consumer, POLL_MS / 1000)
            for poll in in_place:
                if self._is_read_for(poll):
                    self._measure(poll)
        except IllegalStateError:  # a rebalance took the partition away: its lane is being closed
            await asyncio.sleep(POLL_MS / 1000)

    async def _in_place(self, poll: _Poll) -> bool:
        """Whether the next poll follows on what the lane has: a poll that failed may have moved on (guard B1)."""
        position: int = await self._consumer.position(poll.place)
        inbox = poll.lane.inbox
        if poll.is_current and position != inbox.fetch_offset:
            inbox.fail(f"expected the consumer at {inbox.fetch_offset}, found it at {position}")
        return poll.is_current and position == inbox.fetch_offset

    async def _read(self, poll: _Poll) -> None:
        """Hand a lane all that was fetched for it, unless it is another topic's."""
        try:
            fetched = (await self._consumer.getmany(poll.place)).get(poll.place, [])
        except IllegalStateError:
            raise
        except Exception as error:
            self.check_membership()
            if poll.is_current:
                poll.lane.inbox.fail(f"fetching failed: {type(error).__name__}: {error}")
            return
        await self._feed(poll, fetched if await self._watch.may_use() else [])

    def _is_read_for(self, poll: _Poll) -> bool:
        return self._lanes.get(poll.place) is poll.lane and poll.is_current

    async def _feed(self, poll: _Poll, fetched: list[ConsumerRecord]) -> None:
        """Hand records to a lane, if it still waits for just these."""
        limits = self._settings.limits
        records = [without_excess(record_of(one), limits) for one in fetched]
        position = await self._consumer.position(poll.place)
        if self._is_read_for(poll):  # no await may come between this and `put`
            poll.lane.inbox.put(records, position)
        elif records and self._lanes.get(poll.place) is poll.lane and poll.lane.is_at_work:
            # These may be the first records of a lane that was opened anew: they are fetched again.
            self._consumer.seek(poll.place, poll.lane.inbox.fetch_offset)

    def _measure(self, poll: _Poll) -> None:
        """Lag by position, not by commit: markers occupy offsets (guard B12)."""
        end = self._consumer.last_stable_offset(poll.place)
        if end is not None and end >= 0:
            poll.lane.lag.log_end = end
