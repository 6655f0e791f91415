"""What operators read of the line: one canonical log line a turn, and one a refusal."""

import structlog

from worker.messages.rules import Kind
from worker.observability.hooks import Hooks, Turn, Watched
from worker.observability.refusal_log import RefusalLog
from worker.store.port import LaneName

log = structlog.get_logger(__name__)


class TurnLog(Hooks):
    """Writes down turns; refusals only so many a second."""

    def __init__(self) -> None:
        self._refusals = RefusalLog()

    def turn(self, turn: Turn) -> None:
        """The canonical line, with each partition's offsets; then the refusals."""
        log.info(
            "turn",
            topic=turn.lanes[0].lane.topic,
            offsets={one.lane.partition: (one.start, one.stop) for one in turn.lanes},
            records=turn.outcomes.total(),
            outcomes=turn.outcomes,
            store_ms=round(turn.seconds * 1000, 1),
        )
        for one in turn.lanes:
            for answer, command in zip(one.answers, one.commands, strict=True):
                if answer.kind is not Kind.CREATED:
                    self._refusals.tell(one.lane.topic, one.lane.partition, answer, command)

    def lane_closed(self, name: LaneName, lane: Watched) -> None:
        """The last chance to tell what was kept back."""
        self._refusals.tell_numbers()
