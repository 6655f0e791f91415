"""The log of the line: one canonical line per turn, and one per refusal."""

import asyncio
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import NamedTuple

import structlog

from worker.domain.command import ApiKey, Command, NoCredentials, Signature
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.observability.hooks import Hooks, LaneLag, Turn
from worker.store.port import LaneName

log = structlog.get_logger(__name__)

# The most lines a second: for one kind of refusal to one company, and in all.
A_SECOND = 20
ALL_A_SECOND = 400
# The most floods that are told apart in a second.
_MOST_FLOODS = 200
_BODY_BYTES = 500
# The part of a refusal's `error` that all refusals of its kind share.
_ERROR = re.compile(rb'\{"error":"([^":]*)')

# Calls a function after a number of seconds.
Later = Callable[[float, Callable[[], None]], object]


class TurnLog(Hooks):
    """Logs each turn, and its refusals within limits."""

    def __init__(self) -> None:
        self._refusals = RefusalLog()

    def turn(self, turn: Turn) -> None:
        """Log the turn with the offsets of each partition by topic, then its refusals."""
        offsets = defaultdict[str, dict[int, tuple[int, int]]](dict)
        for batch in turn.batches:
            offsets[batch.lane.topic][batch.lane.partition] = batch.start, batch.stop
        log.info(
            "turn",
            offsets=offsets,
            records=turn.outcomes.total(),
            outcomes=turn.outcomes,
            store_ms=round(turn.seconds * 1000, 1),
        )
        for batch in turn.batches:
            for answer, command in zip(batch.answers, batch.commands, strict=True):
                if answer.kind is not Kind.CREATED:
                    self._refusals.tell(batch.lane.topic, batch.lane.partition, answer, command)

    def lane_closed(self, name: LaneName, lag: LaneLag) -> None:
        """Log the numbers now, since the event loop may end before the second does."""
        self._refusals.tell_numbers()


class RefusalLog:
    """Logs the first refusals of each second, and the numbers of the others at its end.

    A company gets `A_SECOND` lines for each kind of refusal, and all of them together `ALL_A_SECOND`: a flood neither
    fills the disk nor hides the refusals of other companies. Refusals without a known company count by their topic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, later: Later | None = None) -> None:
        self._clock = clock
        self._later = later
        # When the current second began.
        self._since = clock() - 1.0
        # In the current second: refusals of each flood, all lines, and refusals that were only counted.
        self._refusals: Counter[_Flood] = Counter()
        self._lines = 0
        self._not_logged: Counter[_Flood] = Counter()

    def tell(self, topic: str, partition: int, answer: Answer, command: Command) -> None:
        """Log a refusal, or count it. Needs a running event loop."""
        match, now = _ERROR.match(answer.value), self._clock()
        error = match[1].decode("ascii") if match else ""
        flood = _Flood(answer.company_id, None if answer.company_id else topic, error)
        if now - self._since >= 1.0:
            self.tell_numbers()
            self._since, self._lines = now, 0
            self._refusals.clear()
        if flood not in self._refusals and len(self._refusals) >= _MOST_FLOODS:
            flood = _Flood(None, None, error)
        self._refusals[flood] += 1
        if self._refusals[flood] <= A_SECOND and self._lines < ALL_A_SECOND:
            self._lines += 1
            log.info(
                "refusal",
                topic=topic,
                partition=partition,
                offset=answer.offset,
                outcome=answer.kind.label,
                key=answer.key,
                company_id=answer.company_id,
                credentials=_kind_of_credentials(command),
                body=answer.value[:_BODY_BYTES].decode("ascii"),
                dead_letter=answer.dead_letter.reason if answer.dead_letter else None,
            )
            return
        if not self._not_logged:
            # The next refusal may be hours away, so a timer logs the numbers when the second ends.
            later = self._later or asyncio.get_running_loop().call_later
            later(max(0.0, self._since + 1.0 - now), self.tell_numbers)
        self._not_logged[flood] += 1

    def tell_numbers(self) -> None:
        """Log how many refusals were only counted so far."""
        for flood, count in self._not_logged.items():
            company_id, topic, error = flood
            log.info("refusals_not_logged", company_id=company_id, topic=topic, error=error, count=count)
        self._not_logged.clear()


class _Flood(NamedTuple):
    """Refusals that share a limit: those of one kind to a company, or on a topic if the company is unknown."""

    company_id: str | None
    topic: str | None
    error: str


def _kind_of_credentials(command: Command) -> str:
    """The kind of a command's credentials. Neither a key nor its hash belongs in a log."""
    credentials = command.credentials
    if isinstance(credentials, NoCredentials):
        return credentials.value
    if isinstance(credentials, Signature):
        return "signature"
    return "api-key" if isinstance(credentials, ApiKey) else "access-token"
