"""A lane that its session has opened: the right to write for the lane, and its positions."""

import time

from worker.observability.hooks import Hooks
from worker.store.port import ExpectedPosition, FencingToken, LaneName
from worker.stream.inbox import Inbox
from worker.stream.lane import Lane


class OpenLane:
    """Keeps A (`applied`), E (`emitted`) and the lower bound of E that Postgres has (`noted`) of an open lane.

    A session makes a new object each time that it opens the lane, so that nothing survives a doubt.
    """

    def __init__(
        self, lane: Lane, token: FencingToken, position: tuple[int, int, int], incarnation: int, hooks: Hooks
    ) -> None:
        """`position` is A, E, and the noted bound of E; `incarnation` is the store's before the opening began."""
        self.lane, self.token = lane, token
        self.name: LaneName = lane.name
        self.inbox: Inbox = lane.inbox
        self.applied, self.emitted, self.noted = position
        # The number of the last turn that took records of this lane.
        self.served = 0
        self._incarnation, self._hooks = incarnation, hooks

    @property
    def expected(self) -> ExpectedPosition:
        """The token and position that the lane must have in Postgres for its next batch."""
        return ExpectedPosition(self.token, self.applied, self.emitted, self._incarnation)

    @property
    def is_behind(self) -> bool:
        """Whether the ledger has answers that Kafka lacks. Between turns this is only so while the lane opens."""
        return self.emitted < self.applied

    @property
    def has_something(self) -> bool:
        """Whether a turn can take records, or a fetch offset that passed markers (guard B12)."""
        return self.lane.is_at_work and (len(self.inbox) > 0 or self.inbox.fetch_offset != self.applied)

    def run(self) -> None:
        """Begin to read, since Kafka has all results below A."""
        # This includes results of a transaction whose end was not answered.
        self._hooks.visible(self.inbox.answered(self.applied))
        self.lane.run(self.applied)

    def apply(self, stop: int) -> None:
        """Move A: Postgres holds all effects below `stop`."""
        self.applied = self.lane.lag.applied = stop
        self.lane.pause_seconds = 0.0
        self.lane.progressed_at = time.monotonic()

    def emit(self, stop: int) -> None:
        """Move E: all results below `stop` are visible."""
        self.emitted = stop
        self._hooks.visible(self.inbox.answered(stop))
        self.lane.progressed_at = time.monotonic()
