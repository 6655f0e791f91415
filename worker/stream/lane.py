"""A lane: one assigned partition, what is held for it, and what it is doing. Sessions open it, and move it."""

import time
from enum import Enum

import structlog

from worker.observability.hooks import Hooks
from worker.store.port import LaneName
from worker.stream.inbox import Inbox
from worker.stream.lag import Lag

log = structlog.get_logger(__name__)


class LaneState(Enum):
    """What a lane is doing, as `/readyz` and the metrics say it."""

    OPENING = "opening"
    RUNNING = "running"
    WAITING = "waiting"
    HALTED = "halted"
    LOST = "lost"
    CLOSED = "closed"


class Lane:
    """One partition for one generation of the group, whether it is open or not (`worker.stream.open_lane`)."""

    def __init__(self, name: LaneName, inbox: Inbox, hooks: Hooks) -> None:
        self.name = name
        self.inbox = inbox
        self.lag = Lag(inbox)
        self.state = LaneState.OPENING
        self.reason = "opening"
        self.progressed_at = time.monotonic()
        self.look_at = 0.0
        """When a session may look at it again, by `time.monotonic()`."""
        self._hooks = hooks
        self.log = log.bind(topic=name.topic, partition=name.partition)
        hooks.lane_opens(name, self)
        hooks.lane_state(name, self.state.value)

    def close(self) -> None:
        """From now on it is somebody else's."""
        self.state, self.reason = LaneState.CLOSED, "closed"
        self._hooks.lane_closed(self.name, self)

    @property
    def is_at_work(self) -> bool:
        """Whether it is open, and reads."""
        return self.state in (LaneState.RUNNING, LaneState.WAITING)

    @property
    def wants_records(self) -> bool:
        """Whether the reader should fetch for this lane now."""
        return self.is_at_work and self.inbox.wants_more

    def set_state(self, state: LaneState, reason: str = "", wait_seconds: float = 0.0) -> None:
        """Be in that state, for a reason that `/readyz` tells, and not be looked at for so long."""
        self.look_at = time.monotonic() + wait_seconds
        if (state, reason) != (self.state, self.reason) and self.state is not LaneState.CLOSED:
            self.state, self.reason = state, reason
            self._hooks.lane_state(self.name, state.value)

    def wait(self, reason: str, wait_seconds: float = 0.0) -> None:
        """It cannot go on with its opening. One that is halted is halted until a session finds otherwise."""
        if self.state is LaneState.HALTED:
            self.look_at = time.monotonic() + wait_seconds
        else:
            self.set_state(LaneState.OPENING, reason, wait_seconds)

    def run(self, applied: int) -> None:
        """It is open: all that is fetched from now on follows on A."""
        self.inbox.restart(applied)
        self.lag.restart(applied)
        self.progressed_at = time.monotonic()
        self.set_state(LaneState.RUNNING)

    def reopen(self, reason: str, wait_seconds: float = 0.0) -> None:
        """On doubt: where it stands has to be asked for again."""
        self.inbox.leave()
        self.set_state(LaneState.OPENING, f"reopening after {reason}", wait_seconds)
        self._hooks.lane_reopens(self.name)
        self.log.warning("lane_reopens", error=reason)

    def lose(self, reason: str, wait_seconds: float) -> None:
        """Somebody else holds it; it is asked for again after a while."""
        self.inbox.leave()
        self.set_state(LaneState.LOST, reason, wait_seconds)
        self.log.warning("lane_lost", reason=reason)

    def lag_records(self) -> float:
        """How many offsets the lane is behind the end of the log."""
        return self.lag.records

    def lag_seconds(self) -> float:
        """How old the oldest command is that has no visible result; 0 where none waits."""
        oldest_ms = self.lag.oldest_ms
        return 0.0 if oldest_ms is None else max(0.0, time.time() - oldest_ms / 1000)
