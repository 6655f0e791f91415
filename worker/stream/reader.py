"""Reads records for lanes, one partition after another."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IllegalStateError
from aiokafka.structs import TopicPartition

from worker.messages.envelope import Record, without_excess
from worker.settings import Settings
from worker.stream.aiokafka_internals import check_membership, fetched_partitions, wait_for_fetch
from worker.stream.cluster.topic_watch import TopicWatch
from worker.stream.lane import Lane

POLL_MS = 100
# The most records that a poll takes of a lane; usual fetches have fewer. The others stay with the consumer as bytes: a
# batch of a megabyte may hold a hundred thousand tiny records, which take thirty times as much as objects.
_RECORDS_AT_ONCE = 1_000


class _Poll(NamedTuple):
    """One lane in one poll. Records go to this lane only, and only if it did not restart since the poll began.

    A session may fail and reopen its lanes during any await. Records of the old poll would then reach the lane out of
    order or twice. Offsets do not show that, since a lane may reopen at the same one (guard B21).
    """

    topic_partition: TopicPartition
    lane: Lane
    restarts: int

    @property
    def is_current(self) -> bool:
        """Whether the lane still waits for the records of this poll."""
        inbox = self.lane.inbox
        return self.lane.is_at_work and inbox.failure is None and inbox.restarts == self.restarts


class Reader:
    """Polls one consumer for the assigned lanes. `lanes` is the assignment's own mapping, and changes."""

    def __init__(
        self, consumer: AIOKafkaConsumer, lanes: Mapping[TopicPartition, Lane], settings: Settings, watch: TopicWatch
    ) -> None:
        self._consumer = consumer
        self._lanes = lanes
        self._settings = settings
        self._watch = watch

    async def poll(self, open_lanes: dict[TopicPartition, Lane]) -> None:
        """Hand these lanes the records that were fetched for them; if there are none, wait a moment."""
        polls = [_Poll(key, lane, lane.inbox.restarts) for key, lane in open_lanes.items()]
        try:
            in_place = [poll for poll in polls if await self._in_place(poll)]
            fetched = fetched_partitions(self._consumer)
            ready = [poll for poll in in_place if poll.topic_partition in fetched]
            # One partition after another: decoded records take far more memory than their bytes, and a partition that
            # cannot be read must not cost the others their records (guard B18).
            for poll in ready:
                await self._read(poll)
            if in_place and not ready:
                await wait_for_fetch(self._consumer, POLL_MS / 1000)
            for poll in in_place:
                if self._is_read_for(poll):
                    # The end of the log. The lag counts from positions, since markers occupy offsets (guard B12).
                    end = self._consumer.last_stable_offset(poll.topic_partition)
                    if end is not None and end >= 0:
                        poll.lane.lag.log_end = end
        except IllegalStateError:  # a rebalance took the partition away: its lane is being closed
            await asyncio.sleep(POLL_MS / 1000)

    async def _in_place(self, poll: _Poll) -> bool:
        """Whether the consumer is at the end of the lane's records: a failed poll may have moved it (guard B1)."""
        position: int = await self._consumer.position(poll.topic_partition)
        inbox = poll.lane.inbox
        if poll.is_current and position != inbox.fetch_offset:
            inbox.fail(f"expected the consumer at {inbox.fetch_offset}, found it at {position}")
        return poll.is_current and position == inbox.fetch_offset

    async def _read(self, poll: _Poll) -> None:
        """Hand a lane its fetched records, if it still waits for them and its topic was not replaced."""
        try:
            polled = await self._consumer.getmany(poll.topic_partition, max_records=_RECORDS_AT_ONCE)
            fetched: list[Record] = polled.get(poll.topic_partition, [])
        except IllegalStateError:
            raise
        except Exception as error:
            check_membership(self._consumer)
            if poll.is_current:
                poll.lane.inbox.fail(f"fetching failed: {type(error).__name__}: {error}")
            return
        # Drop records of a replaced topic. The watch has failed the inbox by then, so it notes no gap for them.
        if not await self._watch.may_use(poll.topic_partition.topic):
            fetched = []
        limits = self._settings.limits
        records = [without_excess(record, limits) for record in fetched]
        position = await self._consumer.position(poll.topic_partition)
        if self._is_read_for(poll):  # no await may come between this and `put`
            poll.lane.inbox.put(records, position)
        elif records and self._lanes.get(poll.topic_partition) is poll.lane and poll.lane.is_at_work:
            # The lane was reopened. The consumer has moved past records that it may need: fetch them again.
            self._consumer.seek(poll.topic_partition, poll.lane.inbox.fetch_offset)

    def _is_read_for(self, poll: _Poll) -> bool:
        return self._lanes.get(poll.topic_partition) is poll.lane and poll.is_current
