"""Everything that both servers know about a command, and the conclusion from it. Pure; tests have a table of cases."""

from dataclasses import dataclass

from worker.domain.places import Place
from worker.domain.timestamps import time_of_ms
from worker.messages.envelope import Record
from worker.messages.events import Answer
from worker.store.port import Position
from worker.stream.log_reader import Bounds
from worker.tools.common.inspection import LaneRow
from worker.tools.common.records import command_of
from worker.tools.explain.postgres_side import CreatedPassport
from worker.tools.explain.report import ChargeReport, State

_NOTHING_KNOWN: tuple[State, ...] = ("no-command", "beyond-the-end", "expired", "not-found", "unknown")


@dataclass(slots=True)
class Evidence:
    """Everything that both servers know about a command; None if they lack it or could not be asked."""

    command: Place
    record: Record | None = None
    log: Bounds | None = None
    emitted: int | None = None
    lane: LaneRow | None = None
    answer: Answer | None = None
    from_ledger: bool = True
    result: Record | None = None
    letter: Record | None = None
    letter_reason: str | None = None
    bound: CreatedPassport | None = None
    charge: ChargeReport | None = None
    key_label: str | None = None
    company_name: str | None = None
    audience: str | None = None
    currency: str = ""

    @property
    def appended_ms(self) -> int:
        """The append time of the command, or 0 if it is unknown."""
        if self.answer is not None:
            return self.answer.appended_ms
        return 0 if self.record is None else self.record.timestamp_ms

    @property
    def may_be_published(self) -> bool:
        """Whether a result can exist: false for a command that is not below A or E."""
        if self.answer is not None:
            return True
        if self.log is None or self.command.offset >= self.log.end:
            return False
        known = [] if self.emitted is None else [self.emitted]
        if self.position is not None:
            known.append(self.position.applied)
        return not known or self.command.offset < max(known)

    @property
    def position(self) -> Position | None:
        """The lane's position in Postgres."""
        return None if self.lane is None else self.lane.position

    @property
    def trace_id(self) -> str | None:
        """The 32 digits that all spans of the command share, from the answer, or else from the command."""
        trace = None
        if self.answer is not None:
            trace = self.answer.trace
        elif self.record is not None:
            trace = command_of(self.record).trace
        return None if trace is None else trace.traceparent.split(b"-")[1].decode("ascii")


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The state of a command, with notes in plain sentences. `code` is the problem's code, by default the state."""

    state: State
    notes: tuple[str, ...] = ()
    code: str | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether the verb exits with 1: nothing is known of the command, or its answer is lost."""
        return self.state == "missing" or self.state in _NOTHING_KNOWN


def conclude(evidence: Evidence, *, knows_lanes: bool, knows_log: bool) -> Conclusion:
    """Say what became of a command. `knows_lanes` and `knows_log` say whether Postgres and Kafka answered."""
    if evidence.answer is not None:
        return Conclusion("answered", tuple(_notes_on_answer(evidence)))
    if evidence.record is None:
        return _without_record(evidence) if knows_log else _without_kafka(evidence)
    if knows_lanes:
        return _without_answer(evidence)
    if evidence.emitted is not None and evidence.command.offset < evidence.emitted:
        return Conclusion("unknown", ("It was answered, but its result was not found. Only Postgres could tell more.",))
    return Conclusion("waiting", ("No result of it is visible. Only Postgres could tell whether it was decided.",))


def _notes_on_answer(evidence: Evidence) -> list[str]:
    notes, offset, log = list[str](), evidence.command.offset, evidence.log
    if log is not None and offset < log.first:
        notes.append(f"The command has expired from the log, which begins at {log.first}.")
    if not evidence.from_ledger:
        notes.append("The answer was read from the result, since the ledger does not have it or Postgres is away.")
    if evidence.emitted is not None and evidence.result is None:
        if offset < evidence.emitted:
            notes.append(
                "The result was published, but was not found. The retention of its topic may have deleted it, or it "
                "is among repeats (--scan reads everything published since)."
            )
        else:
            notes.append("The result is not published yet. The worker that has the lane publishes it next.")
    return notes


def _without_answer(evidence: Evidence) -> Conclusion:
    """Kafka has the command, and Postgres has no answer to it."""
    offset, position = evidence.command.offset, evidence.position
    if position is None:
        return Conclusion("waiting", ("No worker has opened this lane yet. Start one (`passport-worker run`).",))
    if offset >= position.applied:
        before = offset - position.applied
        lane = (
            f"The lane is at {position.applied}, {before} offsets before it." if before else "The lane decides it next."
        )
        return Conclusion("waiting", (f"{lane} `passport-worker lanes` shows whether a worker has it.",))
    if offset < position.ledger_from:
        assert evidence.record is not None
        day = time_of_ms(evidence.record.timestamp_ms).date()
        text = (
            f"It was answered. The answer was dropped from the ledger with its day, {day} or later, and no result was "
            f"found. The ledger begins at {position.ledger_from}."
        )
        return Conclusion("dropped", (text,))
    text = (
        f"The lane is at {position.applied}, and the ledger is complete from {position.ledger_from} on, but the answer "
        "is missing there. `passport-worker audit` shows whether more are missing."
    )
    return Conclusion("missing", (text,))


def _without_record(evidence: Evidence) -> Conclusion:
    """Kafka has no command at this offset, and no server has an answer to one."""
    offset, log = evidence.command.offset, evidence.log
    if log is None:
        return Conclusion("beyond-the-end", (f"The topic has no partition {evidence.command.partition}.",))
    if offset >= log.end:
        text = f"The log ends at {log.end}. Records of a transaction that is still open are not counted."
        return Conclusion("beyond-the-end", (text,))
    if offset >= log.first:
        text = (
            "No record is visible at this offset: it is a transaction's marker, or a record that was aborted or "
            "compacted. Nothing answers it."
        )
        return Conclusion("no-command", (text,))
    position = evidence.position
    expired = f"The command has expired from the log, which begins at {log.first}"
    if position is None:
        return Conclusion("expired", (f"{expired}. Nobody knows what became of it.",))
    if offset >= position.applied:
        return Conclusion("expired", (f"{expired}, before it was answered: the lane is at {position.applied}.",))
    if offset < position.ledger_from:
        text = f"{expired}. Its answer, if it had one, was dropped from the ledger, which begins at "
        return Conclusion("expired", (f"{text}{position.ledger_from}.",))
    text = (
        f"The log begins at {log.first}. The ledger, complete from {position.ledger_from} on, has no answer, so this "
        "was no command, but a transaction's marker or an aborted record."
    )
    return Conclusion("no-command", (text,))


def _without_kafka(evidence: Evidence) -> Conclusion:
    """Kafka cannot be asked, and Postgres has no answer."""
    position = evidence.position
    if position is None:
        return Conclusion("unknown")
    if evidence.command.offset >= position.applied:
        text = f"It is not answered: the lane is at {position.applied}. Only Kafka could tell more."
    elif evidence.command.offset < position.ledger_from:
        text = f"Its answer, if it had one, was dropped with its day: the ledger begins at {position.ledger_from}."
    else:
        text = "The ledger has no answer to it, so it was a transaction's marker or an aborted record."
    return Conclusion("unknown", (text,))
