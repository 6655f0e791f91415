"""A lane that its session has opened: the right to write for it, and where it stands."""

import time

from worker.observability.hooks import Hooks
from worker.store.port import ExpectedPosition, FencingToken, LaneName
from worker.stream.lane import Lane


class OpenLane:
    """The books of a lane: A (`applied`), E (`emitted`), and the lower bound of E that Postgres has (`noted`)."""

    def __init__(self, lane: Lane, token: FencingToken, position: tuple[int, int, int], hooks: Hooks) -> None:
        """`position` is A, E, and what is noted of E."""
        self.lane, self.token = lane, token
        self.name: LaneName = lane.name
        self.applied, self.emitted, self.noted = position
        self.incarnation = 0
        """That of the store when its session began to open it."""
        self.served = 0
        """The turn that took records of it last."""
        self._hooks = hooks

    @property
    def expected(self) -> ExpectedPosition:
        """What it brings to a turn."""
        return ExpectedPosition(self.token, self.applied, self.emitted, self.incarnation)

    @property
    def is_behind(self) -> bool:
        """Whether the ledger has answers that Kafka lacks: between turns, only where the lane is being opened."""
        return self.emitted < self.applied

    @property
    def has_something(self) -> bool:
        """Whether there is something to take: records, or a fetch offset that moved past markers."""
        inbox = self.lane.inbox
        return self.lane.is_at_work and (len(inbox) > 0 or inbox.fetch_offset != self.applied)

    def run(self) -> None:
        """All that Kafka lacked is out: from now on it reads."""
        self.lane.run(self.applied)

    def apply(self, stop: int) -> None:
        """All effects below `stop` are kept."""
        self.applied = self.lane.lag.applied = stop
        self.lane.progressed_at = time.monotonic()

    def emit(self, stop: int) -> None:
        """All results below `stop` are visible."""
        self.emitted = stop
        self._hooks.visible(self.lane.inbox.answered(stop))
        self.lane.progressed_at = time.monotonic()
