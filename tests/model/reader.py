"""Reading: polls that fetch commands for lanes, beside the sessions that open the lanes and work."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.model.steps import Steps, Task, Unanswered, ask

if TYPE_CHECKING:
    from tests.model.process import Process

HELD = 3
"""A lane that holds so many commands wants no more."""


@dataclass(slots=True, eq=False)
class Inbox:
    """Commands that a lane has been fed, and does not work on yet. `position` is the consumer's, `end` the inbox's."""

    offsets: list[int] = field(default_factory=list)
    end: int = 0
    position: int = 0
    restarts: int = 0
    is_open: bool = False

    def restart(self, at: int) -> None:
        """The lane was opened at A."""
        self.offsets.clear()
        self.end = self.position = at
        self.restarts += 1
        self.is_open = True

    def close(self) -> None:
        """The lane's session has ended, or lost the lane."""
        self.offsets.clear()
        self.is_open = False


class Reader:
    """The consumer of one generation of the group. It has one poll at a time, which may outlive a session."""

    def __init__(self, process: "Process", lanes: Iterable[int]) -> None:
        self.inboxes = {lane: Inbox() for lane in lanes}
        self._world, self._process = process.world, process
        self._polling: Task | None = None

    def poll(self) -> Task | None:
        """The poll under way, or a new one; None where no lane wants commands."""
        if self._polling is None or self._polling.done:
            wanting = [inbox for inbox in self.inboxes.values() if self._wants_more(inbox)]
            self._polling = self._process.start(self._poll(wanting)) if wanting else None
        return self._polling

    def _wants_more(self, inbox: Inbox) -> bool:
        return inbox.is_open and len(inbox.offsets) < HELD and inbox.position < self._world.commands

    def _poll(self, inboxes: Iterable[Inbox]) -> Steps[None]:
        """Take what the client has fetched, make sure of the topic where there is doubt, feed the lanes.

        The question may be asked of a broker that hangs, and any of the lanes may be opened anew meanwhile.
        """
        polled = []
        for inbox in inboxes:
            stop = min(inbox.position + HELD, self._world.commands)
            polled.append((inbox, inbox.restarts, range(inbox.position, stop)))
            inbox.position = stop
        is_sure = True
        if self._world.is_in_doubt():
            try:
                yield from ask(self._world.kafka.identify)
            except Unanswered:
                is_sure = False
        for inbox, restarts, offsets in polled:
            self._feed(inbox, offsets, is_sure and (inbox.restarts == restarts or self._world.variant.old_polls_fed))

    def _feed(self, inbox: Inbox, offsets: range, may_feed: bool) -> None:
        """Hand commands to the lane that they were fetched for; if it was opened anew, these may be fetched again."""
        if not inbox.is_open:
            return
        if may_feed:
            inbox.offsets += offsets
            inbox.end = inbox.position
        else:
            inbox.position = inbox.end
