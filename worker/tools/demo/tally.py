"""Who sent what, and what came back: the counts of the table, and the check of the promise; no Kafka in here."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worker.domain.places import Place

STRANGERS = "strangers"
"""The sender of whatever no company answers for: garbage, and guessed API keys."""

COLUMNS = ("created", "replayed", "overage", "conflict", "rejected")

_OF_RATE = 2.0
"""Seconds over which the current rate is taken."""

_RECENT = 400
"""Results over which the current latency is taken."""


@dataclass(frozen=True, slots=True)
class Result:
    """A result as a `read_committed` consumer sees it; `place` is the partition it was read from."""

    cause: str
    place: tuple[str, int]
    column: str
    status: int
    reason: str
    body: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sent:
    """A command that the broker has acknowledged; `at` is when it was handed over, by the monotonic clock."""

    cause: str
    sender: str
    at: float


class Rate:
    """Events a second, over the last two seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def note(self, now: float) -> None:
        """One more."""
        self._times.append(now)

    def at(self, now: float) -> float:
        """Events a second up to `now`."""
        while self._times and self._times[0] < now - _OF_RATE:
            self._times.popleft()
        return len(self._times) / _OF_RATE


class Tally:
    """Matches results to commands, whichever is seen first."""

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self.answered: dict[str, Result] = {}
        self.senders: dict[str, Counter[str]] = {}
        self.outcomes: Counter[tuple[int, str]] = Counter()
        self.latencies: list[float] = []
        self.rate_in, self.rate_out = Rate(), Rate()
        self._early: dict[str, tuple[Result, float]] = {}
        self._copies: Counter[str] = Counter()
        self._twice: list[str] = []
        self._disordered: list[str] = []
        self._last: dict[tuple[tuple[str, int], int], int] = {}

    @property
    def waiting(self) -> int:
        """Commands without a result as yet."""
        return len(self.sent) - len(self.answered)

    def note_sent(self, sent: Sent) -> Result | None:
        """A command is in the log; returns its result if that was already read."""
        self.sent[sent.cause] = sent
        self.rate_in.note(sent.at)
        self.senders.setdefault(sent.sender, Counter())["in"] += 1
        early = self._early.pop(sent.cause, None)
        return self._match(sent, *early) if early else None

    def note_result(self, result: Result, now: float) -> Sent | None:
        """A result was read; returns its command if that is already known."""
        self._check_order(result)
        if result.cause in self.answered or result.cause in self._early:
            self._twice.append(result.cause)
            return None
        sent = self.sent.get(result.cause)
        if sent is None:
            self._early[result.cause] = result, now
            return None
        self._match(sent, result, now)
        return sent

    def note_dead_letter(self, cause: str) -> None:
        """A dead-letter copy was read."""
        self._copies[cause] += 1

    def recent_latency(self, share: float) -> float:
        """The current latency in seconds that `share` of results kept below."""
        return percentile(self.latencies[-_RECENT:], share)

    def dead_letters(self) -> int:
        """Copies of our commands in the dead-letter topic."""
        return sum(count for cause, count in self._copies.items() if cause in self.sent)

    def breaches(self) -> list[str]:
        """How the promise was broken, a sentence each; none when it was kept."""
        found = {
            "without a result": [cause for cause in self.sent if cause not in self.answered],
            "answered twice": [cause for cause in self._twice if cause in self.sent],
            "answered out of order": [cause for cause in self._disordered if cause in self.sent],
            "without exactly one dead-letter copy": self._badly_copied(),
        }
        return [f"{len(causes)} {what}, such as {causes[0]}" for what, causes in found.items() if causes]

    def _match(self, sent: Sent, result: Result, now: float) -> Result:
        self.answered[sent.cause] = result
        self.senders[sent.sender][result.column] += 1
        self.outcomes[result.status, result.reason] += 1
        self.latencies.append(max(0.0, now - sent.at))
        self.rate_out.note(now)
        return result

    def _check_order(self, result: Result) -> None:
        """Within a result partition, the results of one input partition come in the order of its commands."""
        if (command := Place.parse(result.cause)) is None:
            return
        lane = result.place, command.partition
        last = self._last.get(lane, -1)
        if command.offset < last:
            self._disordered.append(result.cause)
        self._last[lane] = max(last, command.offset)

    def _badly_copied(self) -> list[str]:
        """Unreadable commands need one copy, all others none."""
        return [
            cause
            for cause, result in self.answered.items()
            if self._copies[cause] != (1 if result.reason == "unreadable" else 0)
        ]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0
