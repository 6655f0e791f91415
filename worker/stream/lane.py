"""A lane: one assigned partition, what is held for it, where it stands and what it is doing. Sessions move it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import structlog
from aiokafka.structs import TopicPartition
from opentelemetry.trace import INVALID_SPAN, Span

from worker.domain.command import Command
from worker.messages.envelope import Record
from worker.observability.hooks import Hooks
from worker.store.port import ExpectedPosition, FencingToken, LaneName, Registered
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


@dataclass(slots=True)
class Batch:
    """What a turn takes of one lane: records in order, `stop`, the offset behind them, their bytes, and its span."""

    lane: "Lane"
    records: Sequence[Record]
    stop: int
    size: int
    span: Span
    commands: Sequence[Command] = ()


class Lane:
    """One partition for one generation of the group."""

    def __init__(self, name: LaneName, inbox: Inbox, hooks: Hooks) -> None:
        self.name = name
        self.inbox = inbox
        self.lag = Lag(self.inbox)
        self.state = LaneState.OPENING
        self.reason = "opening"
        self.progressed_at = time.monotonic()
        self.applied: int | None = None
        """A, once it is known."""
        self.emitted: int | None = None
        """E, once it is known."""
        self.noted = 0
        """The lower bound of E that Postgres has."""
        self.token: FencingToken | None = None
        """The right to write for it, unless somebody else holds it."""
        self.to_fence: frozenset[str] = frozenset()
        """Transactional ids that may still have something open for it."""
        self.look_at = 0.0
        """When a session may look at it again, by `time.monotonic()`."""
        self.is_placed = False
        """Whether A and E are known to the session, and fit."""
        self.served = 0
        """The turn that took records of it last."""
        self.span: Span = INVALID_SPAN
        """Of its opening."""
        self._hooks = hooks
        self.log = log.bind(topic=name.topic, partition=name.partition)
        hooks.lane_opens(name, self)
        hooks.lane_state(name, self.state.value)

    def close(self) -> None:
        """From now on it is somebody else's."""
        self.state, self.reason = LaneState.CLOSED, "closed"
        self._hooks.lane_closed(self.name, self)

    @property
    def source(self) -> TopicPartition:
        """Where its commands come from, for Kafka."""
        return TopicPartition(self.name.topic, self.name.partition)

    # What it is doing

    @property
    def is_at_work(self) -> bool:
        """Whether it is open, and reads."""
        return self.state in (LaneState.RUNNING, LaneState.WAITING)

    @property
    def wants_records(self) -> bool:
        """Whether the reader should fetch for this lane now."""
        return self.is_at_work and self.inbox.wants_more

    @property
    def has_something(self) -> bool:
        """Whether there is something to take: records, or a fetch offset that moved past markers."""
        return self.is_at_work and (len(self.inbox) > 0 or self.inbox.fetch_offset != self.applied)

    @property
    def busy(self) -> bool:
        """Whether something that was fetched is not emitted yet, wherever it is held up."""
        return self.emitted is not None and self.emitted < self.inbox.fetch_offset

    def stand(self, state: LaneState, reason: str = "", wait_seconds: float = 0.0) -> None:
        """Be in that state, for a reason that `/readyz` tells, and not be looked at for so long."""
        self.look_at = time.monotonic() + wait_seconds
        if (state, reason) != (self.state, self.reason) and self.state is not LaneState.CLOSED:
            self.state, self.reason = state, reason
            self._hooks.lane_state(self.name, state.value)

    def begin(self) -> None:
        """A session begins with it. One that is halted is halted until the session finds otherwise."""
        self.token, self.is_placed, self.look_at = None, False, 0.0
        self.wait("opening")

    def wait(self, reason: str, wait_seconds: float = 0.0) -> None:
        """It cannot go on with its opening."""
        if self.state is LaneState.HALTED:
            self.look_at = time.monotonic() + wait_seconds
        else:
            self.stand(LaneState.OPENING, reason, wait_seconds)

    def reopen(self, reason: str, wait_seconds: float = 0.0) -> None:
        """On doubt: where it stands has to be asked for again."""
        self._leave_work()
        self.stand(LaneState.OPENING, f"reopening after {reason}", wait_seconds)
        self._hooks.lane_reopens(self.name)
        self.log.warning("lane_reopens", error=reason)

    def registered(self, registered: Registered) -> None:
        """It is ours, as soon as all that others may have open has ended."""
        self.token, self.to_fence = registered.token, registered.producers
        self.is_placed = False

    def lose(self, reason: str, wait_seconds: float) -> None:
        """Somebody else holds it; it is asked for again after a while."""
        self.token = None
        self._leave_work()
        self.stand(LaneState.LOST, reason, wait_seconds)
        self.log.warning("lane_lost", reason=reason)

    def _leave_work(self) -> None:
        """What was fetched will be fetched again, and others have its memory until then."""
        self.is_placed = False
        oldest = self.inbox.take(1, 1)
        self.lag.take(oldest.records, oldest.stop)  # its age goes on
        self.inbox.restart(self.inbox.fetch_offset)

    # Where it stands

    @property
    def is_behind(self) -> bool:
        """Whether it stands, but answers that the ledger has are to be emitted first."""
        if not self.is_placed or self.is_at_work:
            return False
        assert self.applied is not None
        assert self.emitted is not None
        return self.emitted < self.applied

    def place(self, applied: int, emitted: int, noted: int) -> None:
        """Here it stands: A, E, and the lower bound of E that Postgres has."""
        self.applied, self.emitted, self.noted, self.is_placed = applied, emitted, noted, True

    def run(self) -> None:
        """It is open: all that is fetched from now on follows on A."""
        assert self.applied is not None
        self.inbox.restart(self.applied)
        self.lag.restart()
        self.progressed_at = time.monotonic()
        self.stand(LaneState.RUNNING)

    @property
    def expected(self) -> ExpectedPosition:
        """What it brings to a turn."""
        assert self.token is not None
        assert self.applied is not None
        assert self.emitted is not None
        return ExpectedPosition(self.token, self.applied, self.emitted)

    def take(self, most: int, most_bytes: int, span: Span) -> Batch:
        """Records that wait, in order: at most so many, and no more once they have so many bytes."""
        records, stop, size = self.inbox.take(most, most_bytes)
        self.lag.take(records, stop)
        return Batch(self, records, stop, size, span)

    def put_back(self, batch: Batch) -> None:
        """Undo the last `take`."""
        if batch.records:
            self.inbox.put_back(batch.records)
            self.lag.put_back()

    def apply(self, stop: int) -> None:
        """All effects below `stop` are kept."""
        self.applied = stop
        self.progressed_at = time.monotonic()

    def emit(self, stop: int) -> None:
        """All results below `stop` are visible."""
        self.emitted = stop
        self.inbox.answered(stop)
        self._hooks.visible(self.lag.answered(stop))
        self.progressed_at = time.monotonic()

    def lag_records(self) -> float:
        """How many offsets the lane is behind the end of the log."""
        return self.lag.records(self.applied)

    def lag_seconds(self) -> float:
        """How old the oldest command is that has no visible result; 0 where none waits."""
        oldest_ms = self.lag.oldest_ms
        return 0.0 if oldest_ms is None else max(0.0, time.time() - oldest_ms / 1000)
