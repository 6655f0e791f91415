"""Lanes whose positions contradict each other. The worker examines them while the other lanes have turns."""

import asyncio
import time
from collections.abc import Mapping
from math import inf

import structlog

from worker.domain.timestamps import format_ms
from worker.observability.hooks import Activity
from worker.store.port import FencingToken
from worker.stream.background import Background, is_set_within
from worker.stream.cluster.connection import ANSWER_SECONDS
from worker.stream.dependencies import Consumer, LaneDependencies
from worker.stream.forgotten import Forgotten
from worker.stream.lane import Lane, LaneState
from worker.stream.lane_positions import LanePositions, LogEnds, read_positions
from worker.stream.positions import Halt
from worker.stream.published import newest_results

log = structlog.get_logger(__name__)

# How often the positions of halted lanes are read again, since somebody may have corrected them.
HALTED_LOOK_SECONDS = 30.0
# How soon they are read again if a server did not answer for all lanes.
RETRY_SECONDS = 1.0


class Halts:
    """The halted lanes of a session, and lanes whose reason to halt is not known yet."""

    def __init__(
        self,
        shared: LaneDependencies,
        consumer: Consumer,
        tokens: Mapping[Lane, FencingToken],
        forgotten: Forgotten,
        wake: asyncio.Event,
    ) -> None:
        """`wake` is set when a lane may go on. `tokens` has the lanes that only this session can write for."""
        self._shared, self._consumer, self._tokens, self._wake = shared, consumer, tokens, wake
        self._forgotten = forgotten
        self._lanes: set[Lane] = set()
        self._misfit = asyncio.Event()
        self._background = Background()
        self._background.start("halted-lanes", self._watch)

    def stop(self) -> None:
        """Stop all background work."""
        self._background.stop()

    def look_into(self, lane: Lane) -> None:
        """Find out, in the background, why the positions of this lane do not fit: reading results may take long."""
        lane.wait("its positions do not fit: looking for the reason", inf)
        self._lanes.add(lane)
        self._misfit.set()

    def halt(self, lane: Lane, reason: str) -> None:
        """Halt one lane, and say why."""
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
            await is_set_within(self._misfit, HALTED_LOOK_SECONDS)
            self._misfit.clear()
            if not self._lanes:
                continue
            try:
                await self._look()
            except Exception as error:  # a server is away, which `watch-servers` reports
                log.warning("halted_lanes_cannot_look", error=f"{type(error).__name__}: {error}")
            if any(lane.state is not LaneState.HALTED for lane in self._lanes):
                await asyncio.sleep(RETRY_SECONDS)
                self._misfit.set()

    async def _look(self) -> None:
        """Halt lanes whose positions still do not fit, and release the others. Lanes without an answer stay."""
        lanes = set(self._lanes)
        held = {lane: self._tokens[lane] for lane in lanes if lane in self._tokens}
        # Not the opening's `LogEnds`: it returns each answer only once, and this must not take one from the opening.
        log_ends = LogEnds(self._consumer, asyncio.Event())
        logs = await log_ends.known([lane.partition for lane in held], ANSWER_SECONDS)
        answers = await read_positions(held, logs, self._forgotten, self._shared, self._consumer)
        known = {lane: answer for lane, answer in answers.items() if isinstance(answer, LanePositions)}
        ahead = {lane.partition: at.log.end for lane, at in known.items() if at.emitted > at.position.applied}
        newest = await newest_results(self._shared.settings, self._shared.cluster, ahead)
        for lane in lanes:
            answer, positions = answers.get(lane), known.get(lane)
            reason = None if positions is None else positions.reason_to_halt(newest.get(lane.partition))
            if isinstance(answer, Halt):
                self.halt(lane, str(answer))
            elif positions is not None and reason is not None:
                lane.lag.stands_at = min(positions.position.applied, positions.emitted)
                self.halt(lane, reason)
            elif lane not in held:
                # Its fence was refused. The opening tries again, and the lane stays halted meanwhile.
                self._lanes.discard(lane)
                lane.wait("opening")
                self._wake.set()
            elif not isinstance(answer, str):
                # Its positions fit by now, or the session has lost it. The opening finds out which.
                lane.log.info("halted_lane_goes_on")
                self._lanes.discard(lane)
                lane.set_state(LaneState.OPENING, "opening")
                self._wake.set()
