"""A lane: an assigned partition, the records held for it, and its state. Sessions open and move it."""

import time
from enum import Enum

import structlog
from aiokafka.structs import TopicPartition

from worker.observability.hooks import Hooks
from worker.store.port import LaneName
from worker.stream.inbox import Inbox
from worker.stream.lag import Lag

log = structlog.get_logger(__name__)

# Bounds of the pause after a failure of a session or of a lane's fetches. Each failure in a row doubles the pause.
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0


class LaneState(Enum):
    """The state of a lane, as `/readyz` and the metrics name it."""

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
        self.partition = TopicPartition(name.topic, name.partition)
        self.inbox = inbox
        self.lag = Lag(inbox)
        self.state = LaneState.OPENING
        self.reason = "opening"
        self.progressed_at = time.monotonic()
        # Sessions leave the lane alone until this time, by `time.monotonic()`.
        self.due_at = 0.0
        # How long the lane pauses after its next failed fetch. `OpenLane.apply` resets it.
        self.pause_seconds = 0.0
        self._hooks = hooks
        self.log = log.bind(topic=name.topic, partition=name.partition)
        hooks.lane_opens(name, self.lag)
        hooks.lane_state(name, self.state.value)

    def close(self) -> None:
        """Give the lane up, since the assignment has ended."""
        self.state, self.reason = LaneState.CLOSED, "closed"
        self._hooks.lane_closed(self.name, self.lag)

    @property
    def is_at_work(self) -> bool:
        """Whether the lane is open and reads."""
        return self.state in (LaneState.RUNNING, LaneState.WAITING)

    @property
    def wants_records(self) -> bool:
        """Whether the reader should fetch for this lane now."""
        return self.is_at_work and self.inbox.wants_more

    def set_state(self, state: LaneState, reason: str = "", wait_seconds: float = 0.0) -> None:
        """Change to a state, for a reason that `/readyz` shows. Sessions leave the lane alone for `wait_seconds`."""
        self.due_at = time.monotonic() + wait_seconds
        # A session that was cut off may still move a closed lane whose partition has a new lane in this worker.
        if (state, reason) != (self.state, self.reason) and self.state is not LaneState.CLOSED:
            self.state, self.reason = state, reason
            self._hooks.lane_state(self.name, state.value)

    def wait(self, reason: str, wait_seconds: float = 0.0) -> None:
        """Pause the opening for a reason. A halted lane stays halted until a session finds that it may go on."""
        if self.state is LaneState.HALTED:
            self.due_at = time.monotonic() + wait_seconds
        else:
            self.set_state(LaneState.OPENING, reason, wait_seconds)

    def join_session(self) -> None:
        """Begin the opening in another session. A lost lane keeps its pause, as its holder is the same."""
        if self.state is not LaneState.LOST:
            self.wait("opening")

    def run(self, applied: int) -> None:
        """Begin to read at A, without the records that were fetched before."""
        self.inbox.restart(applied)
        self.lag.restart(applied)
        self.progressed_at = time.monotonic()
        self.set_state(LaneState.RUNNING)

    def reopen(self, reason: str, wait_seconds: float = 0.0) -> None:
        """Stop work on doubt, until the lane's positions have been read again."""
        self.inbox.leave()
        self.set_state(LaneState.OPENING, f"reopening: {reason}", wait_seconds)
        self._hooks.lane_reopens(self.name)
        self.log.warning("lane_reopens", error=reason)

    def reopen_after_pause(self, reason: str) -> None:
        """Reopen a lane whose fetches failed: first at once, then after pauses that double until it moves."""
        self.reopen(reason, self.pause_seconds)
        self.pause_seconds = min(max(FIRST_PAUSE_SECONDS, 2 * self.pause_seconds), LONGEST_PAUSE_SECONDS)

    def lose(self, reason: str, wait_seconds: float) -> None:
        """Stop work, since another session holds the lane. This session asks for it again after `wait_seconds`."""
        self.inbox.leave()
        self.set_state(LaneState.LOST, reason, wait_seconds)
        self.log.warning("lane_lost", reason=reason)
