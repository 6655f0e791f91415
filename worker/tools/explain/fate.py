"""Why there is no answer to a command, and what is odd where there is one: pure, from what both servers know."""

from dataclasses import dataclass

from worker.domain.timestamps import time_of_ms
from worker.tools.explain.report import State
from worker.tools.explain.story import Story

_OF_NOBODY: tuple[State, ...] = ("no-command", "beyond-the-end", "expired", "not-found", "unknown")


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a command, and sentences about it; `is_wrong`: nothing was found, or what is there cannot be."""

    state: State
    notes: tuple[str, ...] = ()

    @property
    def is_wrong(self) -> bool:
        """Whether the verb exits with 1 for it."""
        return self.state == "missing" or self.state in _OF_NOBODY


def fate_of(story: Story, *, knows_lanes: bool, knows_log: bool) -> Fate:
    """`knows_lanes`, `knows_log`: whether Postgres and Kafka could be asked."""
    if story.answer is not None:
        return Fate("answered", tuple(_notes_on_answer(story)))
    if story.record is not None:
        return _unanswered(story) if knows_lanes else _unseen(story)
    if knows_log:
        return _no_record(story)
    return _away(story)


def _notes_on_answer(story: Story) -> list[str]:
    notes, offset, log = list[str](), story.place.offset, story.log
    if log is not None and offset < log.first:
        notes.append(f"The command has expired from the log, which begins at {log.first}.")
    if not story.from_ledger:
        notes.append("The answer was read from the result: the ledger does not have it, or Postgres is away.")
    if story.emitted is not None and story.result is None:
        if offset < story.emitted:
            notes.append(
                "The result was published, and was not found: its topic's retention may have taken it, or it stands "
                "among repeats (--scan reads all that was published since)."
            )
        else:
            notes.append("The result is not published yet: the worker that has the lane does it next.")
    return notes


def _unanswered(story: Story) -> Fate:
    """There is a command, and Postgres has no answer to it."""
    offset = story.place.offset
    position = story.lane.position if story.lane else None
    if position is None:
        return Fate("waiting", ("No worker has ever had this lane: start one (`passport-worker run`).",))
    if offset >= position.applied:
        before = offset - position.applied
        told = f"The lane is at {position.applied}, {before} offsets before it." if before else "It is the lane's next."
        return Fate("waiting", (f"{told} `passport-worker lanes` tells whether somebody is at work.",))
    if offset < position.ledger_from:
        assert story.record is not None
        day = time_of_ms(story.record.timestamp_ms).date()
        return Fate(
            "dropped",
            (
                f"It was answered; the answer was dropped from the ledger with its day, {day} or later, and no result "
                f"of it was found. The ledger begins at {position.ledger_from}.",
            ),
        )
    return Fate(
        "missing",
        (
            f"The lane is at {position.applied}, and the ledger is complete from {position.ledger_from} on; the "
            "answer is missing there. `passport-worker audit` tells whether there are more.",
        ),
    )


def _unseen(story: Story) -> Fate:
    """There is a command, and Postgres cannot be asked."""
    if story.emitted is not None and story.place.offset < story.emitted:
        return Fate("unknown", ("It was answered, and its result was not found; only Postgres could tell it.",))
    return Fate("waiting", ("No result of it is visible; whether it was decided only Postgres could tell.",))


def _no_record(story: Story) -> Fate:
    offset, log = story.place.offset, story.log
    if log is None:
        return Fate("beyond-the-end", (f"The topic has no partition {story.place.partition}.",))
    if offset >= log.end:
        told = f"The log ends at {log.end}; what a transaction holds that is still open is not counted."
        return Fate("beyond-the-end", (told,))
    if offset >= log.first:
        told = "There is no record: a transaction's marker, or one that was aborted or compacted. Nobody answers it."
        return Fate("no-command", (told,))
    position = story.lane.position if story.lane else None
    expired = f"The command has expired from the log, which begins at {log.first}"
    if position is None:
        return Fate("expired", (f"{expired}; what became of it is not known.",))
    if offset >= position.applied:
        return Fate("expired", (f"{expired}, before it was answered: the lane is at {position.applied}.",))
    if offset < position.ledger_from:
        told = f"{expired}, and its answer, if it had one, from the ledger, which begins at {position.ledger_from}."
        return Fate("expired", (told,))
    told = (
        f"The log begins at {log.first}. The ledger, complete from {position.ledger_from} on, has no answer: it was no "
        "command, but a transaction's marker or an aborted record."
    )
    return Fate("no-command", (told,))


def _away(story: Story) -> Fate:
    """Kafka cannot be asked, and Postgres has no answer."""
    position = story.lane.position if story.lane else None
    if position is None:
        return Fate("unknown")
    if story.place.offset >= position.applied:
        return Fate("unknown", (f"It is not answered: the lane is at {position.applied}. Only Kafka could tell more.",))
    if story.place.offset < position.ledger_from:
        told = f"An answer, if there was one, was dropped with its day: the ledger begins at {position.ledger_from}."
        return Fate("unknown", (told,))
    told = "The ledger has no answer to it: it was a transaction's marker or an aborted record."
    return Fate("unknown", (told,))
