"""Lanes whose positions contradict each other: why is found out beside the turns of the others, now and then again."""

import asyncio
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from math import inf

import structlog
from aiokafka.errors import UnknownTopicOrPartitionError

from worker.domain.timestamps import format_ms
from worker.observability.hooks import Activity
from worker.store.port import FencingToken
from worker.stream.background import Background
from worker.stream.cluster.connection import ANSWER_SECONDS
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.forgotten import Forgotten
from worker.stream.lane import Lane, LaneState
from worker.stream.lane_positions import LanePositions, LogEnds, read_positions
from worker.stream.positions import Halt, reason_without_topic
from worker.stream.published import newest_results

log = structlog.get_logger(__name__)

HALTED_LOOK_SECONDS = 30.0


class Halts:
    """The halted lanes of a session. `news` is set when one of them may go on."""

    def __init__(
        self,
        shared: LaneDependencies,
        consumer: Consumer,
        tokens: Mapping[Lane, FencingToken],
        forgotten: Forgotten,
        news: asyncio.Event,
    ) -> None:
        """`tokens` are of those lanes that are the session's, and on which nobody else has anything open."""
        self._shared, self._consumer, self._tokens, self._news = shared, consumer, tokens, news
        self._forgotten, self._topic = forgotten, shared.settings.topic_commands
        self._lanes: set[Lane] = set()
        self._misfit = asyncio.Event()
        self._background = Background()
        self._background.start("halted-lanes", self._watch)

    def stop(self) -> None:
        """Nothing goes on in the background."""
        self._background.stop()

    def look_into(self, lanes: Collection[Lane]) -> None:
        """Their positions do not fit. Finding out why may take long."""
        for lane in lanes:
            lane.wait("its positions do not fit: looking for the reason", inf)
        self._lanes.update(lanes)
        self._misfit.set()

    def halt(self, lane: Lane, reason: str) -> None:
        """This lane only."""
        self._shared.hooks.ended(Activity(lane.name), Halt(reason))
        now = time.time()
        if lane.state is LaneState.HALTED:
            lane.log.warning("lane_still_halted", reason=reason)
        else:
            self._shared.hooks.lane_halted(lane.name)
            lane.log.error("lane_halted", reason=reason)
        self._lanes.add(lane)
        lane.set_state(LaneState.HALTED, f"{reason} (looked last at {format_ms(int(now * 1000))})", inf)
        self._shared.hooks.halted_lane_looked(lane.name, now)

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HALTED_LOOK_SECONDS):
                    await self._misfit.wait()
            self._misfit.clear()
            if self._lanes:
                try:
                    await self._look()
                except Exception as error:  # the servers' trouble, which is told elsewhere; the next look will tell
                    log.warning("halted_lanes_cannot_look", error=f"{type(error).__name__}: {error}")
                    await asyncio.sleep(1.0)
                    self._misfit.set()

    async def _look(self) -> None:
        lanes = set(self._lanes)
        try:
            ours = {lane: self._tokens[lane] for lane in lanes if lane in self._tokens}
            log_ends = LogEnds(self._consumer, self._topic, asyncio.Event())
            logs = await log_ends.known([lane.name.partition for lane in ours], ANSWER_SECONDS)
            looks = await read_positions(ours, logs, self._forgotten, self._shared, self._consumer)
        except UnknownTopicOrPartitionError:
            for lane in lanes:
                self.halt(lane, reason_without_topic(self._topic))
            return
        found = {lane: one for lane, one in looks.items() if isinstance(one, LanePositions)}
        ahead = [lane.name.partition for lane, one in found.items() if one.emitted > one.position.applied]
        newest = await newest_results(self._shared.settings, self._shared.cluster, self._topic, ahead)
        for lane in lanes:
            one = looks.get(lane)
            reason = one.reason_to_halt(newest.get(lane.name.partition)) if isinstance(one, LanePositions) else None
            if reason is not None:
                assert isinstance(one, LanePositions)
                lane.lag.stands_at = min(one.position.applied, one.emitted)
                self.halt(lane, reason)
            elif not isinstance(one, str):
                lane.log.info("halted_lane_goes_on")
                self._lanes.discard(lane)
                lane.set_state(LaneState.OPENING, "opening")
                self._news.set()
