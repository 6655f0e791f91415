"""The events of the line, to which metrics, spans and logs listen. The line does not know its listeners."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

from worker.domain.catalogue import Company
from worker.domain.command import Command
from worker.domain.outcomes import Created, Outcome
from worker.messages.events import Answer, company_of
from worker.messages.rules import Kind
from worker.store.port import LaneName

# Call it with the name of each step when the step ends.
Stopwatch = Callable[[str], None]
# From the kind of a result and the lane of its command to the result's topic and partition.
Destination = Callable[[Kind, LaneName], tuple[str, int]]


class Activity(NamedTuple):
    """The work on a lane: the batch from the offset `start` on or, if `start` is None, the opening of the lane."""

    lane: LaneName
    start: int | None = None


@dataclass(frozen=True)
class CommittedTransaction:
    """A committed transaction, its decisions, and the `seconds` that it took."""

    lanes: int
    created: Sequence[Created]
    others: Sequence[Outcome]
    companies: Mapping[str, Company]
    seconds: float

    @cached_property
    def others_by_company(self) -> Counter[tuple[type[Outcome], str | None]]:
        """The numbers of `others` by type and company; the company is None if the credentials name none."""
        return Counter([(type(outcome), company_of(outcome)) for outcome in self.others])


class Sent(Protocol):
    """A lane's share of a Kafka transaction: the answers to its commands below `stop`, in order."""

    @property
    def lane(self) -> LaneName:
        """The lane that the commands came from."""

    @property
    def stop(self) -> int:
        """The offset after the last command."""

    @property
    def answers(self) -> Sequence[Answer]:
        """The answers, one per command."""


class Answered(Sent, Protocol):
    """A lane's share of a turn that Postgres holds: a `worker.batch.batch.Batch` with its answers."""

    @property
    def start(self) -> int:
        """The offset of the first command."""

    @property
    def commands(self) -> Sequence[Command]:
        """The commands, as they were decoded."""


@dataclass(frozen=True)
class Turn:
    """The batches of a turn that had commands, and the `seconds` that it took in Postgres."""

    batches: Sequence[Answered]
    seconds: float

    @cached_property
    def outcomes(self) -> Counter[str]:
        """The number of answers by `outcome_name`."""
        return Counter(outcome_name(answer) for batch in self.batches for answer in batch.answers)


class LaneLag(Protocol):
    """The lag of a lane, computed when a listener asks for it."""

    def records(self) -> float:
        """Offsets behind the end of the log."""

    def seconds(self) -> float:
        """Age of the oldest command without a visible result."""


class Hooks:
    """The events of the line. This base class ignores all of them.

    A listener overrides the events that it needs, and must not raise, since an exception would fail the line.
    `together` combines listeners.
    """

    # Activities

    def begins(self, activity: Activity) -> None:
        """A batch was taken, or a lane opens. The same event can come twice."""

    def ended(self, activity: Activity, failure: BaseException | None = None) -> None:
        """An activity is over. The same event can come twice."""

    def within(self, activities: Sequence[Activity]) -> AbstractContextManager[None]:
        """Makes activities the current ones. An exception that leaves the context fails and ends them all."""
        return nullcontext()

    def decoded(self, batch: Activity, stop: int, commands: Sequence[Command]) -> None:
        """The records of a batch, up to below the offset `stop`, became these commands."""

    def troubled(self, lane: LaneName, event: str, error: type[Exception], offset: int) -> None:
        """The current batch of a lane failed at an offset, but continues: `batch_failed` or `record_refused`."""

    def too_large(self) -> None:
        """The current batches were too much for one transaction. Smaller parts follow."""

    # Turns

    def step(self, name: str) -> AbstractContextManager[None]:
        """A step of a turn: decode, store, emit or re-emit."""
        return nullcontext()

    def stopwatch(self) -> Stopwatch:
        """A transaction in Postgres begins. The line calls the result at the end of each step."""
        return lambda step: None

    def transaction(self, system: Literal["postgresql", "kafka"], records: int) -> AbstractContextManager[None]:
        """The transaction of all current activities on one side."""
        return nullcontext()

    def sending(self, batches: Sequence[Sent], destination: Destination) -> AbstractContextManager[None]:
        """The results are on their way to the topics that `destination` names."""
        return nullcontext()

    def committed(self, done: CommittedTransaction) -> None:
        """A transaction in Postgres is committed."""

    def turn(self, turn: Turn) -> None:
        """Postgres has committed a turn that had commands."""

    def visible(self, appended_ms: Sequence[Sequence[int]]) -> None:
        """Readers see the results of batches, whose commands were appended at these times, the oldest first."""

    # Lanes

    def lane_opens(self, name: LaneName, lag: LaneLag) -> None:
        """This worker has a lane now."""

    def lane_closed(self, name: LaneName, lag: LaneLag) -> None:
        """This worker no longer has the lane."""

    def lane_state(self, name: LaneName, state: str) -> None:
        """The lane is in this state now."""

    def lane_reopens(self, name: LaneName) -> None:
        """The lane opens again: its turn is in doubt, or the fetched records do not continue at its position."""

    def lane_halted(self, name: LaneName) -> None:
        """The positions of the lane contradict each other, and did not before."""

    def halted_lane_looked(self, name: LaneName, at: float) -> None:
        """The positions of the halted lane were read again at this `time.time()`, and still contradict each other."""

    def emitted_again(self, name: LaneName, results: int) -> None:
        """The worker has published this many results that the ledger had and Kafka lacked."""

    # The group

    def assigned(self, generation: int, partitions: int) -> None:
        """The group gave this worker this many partitions."""

    def unassigned(self) -> None:
        """The worker has no partitions: the group assigns them again, or the worker leaves."""


# Events whose context managers begin in the order of the listeners, and end in the reverse one.
_CONTEXTS = ("within", "step", "transaction", "sending")


def together(*listeners: Hooks) -> Hooks:
    """Hooks that pass each event to the listeners that override it, in order."""
    hooks = Hooks()
    for name in (name for name in vars(Hooks) if not name.startswith("_")):
        nothing = getattr(Hooks, name)
        tell = [getattr(listener, name) for listener in listeners if getattr(type(listener), name) is not nothing]
        if tell:  # a single listener is called directly, so that the line pays for no loop
            setattr(hooks, name, tell[0] if len(tell) == 1 else _tell_each(name, tell))
    return hooks


def _tell_each(name: str, listeners: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    def tell(*event: Any) -> Any:
        answers = [listener(*event) for listener in listeners]
        if name in _CONTEXTS:
            return _nested(answers)
        return (lambda step: [lap(step) for lap in answers]) if name == "stopwatch" else None

    return tell


@contextmanager
def _nested(contexts: Sequence[AbstractContextManager[None]]) -> Iterator[None]:
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def outcome_name(answer: Answer) -> str:
    """`created`, `replayed`, `overage-required`, `conflict` or `rejected`."""
    return "replayed" if answer.replayed else answer.kind.label
