"""Hooks that remember what the line tells, for tests of the line: no metrics, spans or logs are needed there."""

from worker.observability.hooks import Hooks, Turn
from worker.store.port import LaneName


class Told(Hooks):
    """What was told, as far as tests of the line ask for it."""

    def __init__(self) -> None:
        self.states: dict[int, str] = {}
        """The state that each partition's lane was in last."""
        self.reopened: list[int] = []
        self.turns: list[Turn] = []

    def lane_state(self, name: LaneName, state: str) -> None:
        """Remember it."""
        self.states[name.partition] = state

    def lane_reopens(self, name: LaneName) -> None:
        """Remember it."""
        self.reopened.append(name.partition)

    def lane_closed(self, name: LaneName, lag: object) -> None:
        """It is in no state any more."""
        self.states.pop(name.partition, None)

    def turn(self, turn: Turn) -> None:
        """Remember it."""
        self.turns.append(turn)
