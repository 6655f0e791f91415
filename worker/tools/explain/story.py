"""What was found of a command, made into a report: pure, so that a table of cases tells all of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from pydantic import JsonValue

from worker.domain.command import TraceContext
from worker.domain.outcomes import Outcome
from worker.domain.places import Place
from worker.domain.timestamps import time_of_ms
from worker.messages.answers import body_of_value, outcome_class
from worker.messages.envelope import Record, open_envelope
from worker.messages.events import Answer
from worker.messages.rules import ROWS, Kind
from worker.stream.log_reader import Bounds
from worker.tools.common.inspection import LaneRow
from worker.tools.common.why import why
from worker.tools.explain.lookups import Charge, KeyOwner, Made
from worker.tools.explain.report import (
    BindingReport,
    ChargeReport,
    CommandReport,
    DeadLetterReport,
    LanePosition,
    OutcomeReport,
    RecordPlace,
    RuleReport,
)
from worker.tools.explain.told_command import WIDEST, command_report, safe

_BOUND_FOR = timedelta(hours=24)
_CREATED_STATUS = 201


@dataclass(slots=True)
class Story:
    """All that both servers know of a command; None is what they do not have, or could not be asked for."""

    place: Place
    record: Record | None = None
    log: Bounds | None = None
    emitted: int | None = None
    lane: LaneRow | None = None
    answer: Answer | None = None
    from_ledger: bool = True
    result: Record | None = None
    letter: Record | None = None
    letter_reason: str | None = None
    bound: Made | None = None
    charge: Charge | None = None
    owner: KeyOwner | None = None
    audience: str | None = None

    @property
    def trace(self) -> TraceContext | None:
        """As it was carried to the result; else as the command has it."""
        if self.answer is not None:
            return self.answer.trace
        return None if self.record is None else open_envelope(self.record, WIDEST).command.trace

    @property
    def trace_id(self) -> str | None:
        """32 digits, the same in every span of the command's way."""
        return None if self.trace is None else self.trace.traceparent.split(b"-")[1].decode("ascii")


def record_place(record: Record | Place) -> RecordPlace:
    """Of a record, or of a command."""
    return RecordPlace(topic=record.topic, partition=record.partition, offset=record.offset)


def safe_json(value: object) -> JsonValue:
    """The same in every text of a parsed body."""
    if isinstance(value, dict):
        return {safe(str(name)): safe_json(one) for name, one in value.items()}
    if isinstance(value, list):
        return [safe_json(one) for one in value]
    if isinstance(value, str):
        return safe(value)
    return value if isinstance(value, bool | int | float) else None


def command_of(story: Story) -> CommandReport | None:
    """The command, if Kafka has it."""
    if story.record is None:
        return None
    was_good = story.answer is not None and story.answer.company_id is not None
    return command_report(story.record, story.owner, story.audience, is_known=was_good)


def lane_position(story: Story) -> LanePosition | None:
    """Where the lane stands, as far as both servers tell."""
    if story.lane is None and story.log is None:
        return None
    position = story.lane.position if story.lane else None
    emitted = story.emitted if story.emitted is not None or position is None else position.emitted
    return LanePosition(
        applied=position and position.applied,
        emitted=emitted,
        ledger_from=position and position.ledger_from,
        log_start=story.log and story.log.first,
        log_end=story.log and story.log.end,
    )


def outcome_report(story: Story) -> OutcomeReport | None:
    """How it was answered, and why."""
    answer = story.answer
    if answer is None:
        return None
    body = body_of_value(answer.value)
    outcome = outcome_class(answer.kind, body, replayed=answer.replayed)
    rule = None if outcome is None else ROWS[outcome]
    return OutcomeReport(
        code=_code(outcome),
        status=_status(answer.kind, body),
        rule=None if rule is None else RuleReport(number=rule.number, name=rule.name),
        why=safe(why(outcome, body)),
        event=answer.kind.label,
        company_id=answer.company_id,
        passport_id=answer.passport_id,
        key=answer.key,
        body=safe_json(body),
        source="ledger" if story.from_ledger else "result",
        emitted=True if story.result else None if story.emitted is None else answer.offset < story.emitted,
        result=story.result and record_place(story.result),
    )


def _code(outcome: type[Outcome] | None) -> str:
    return "unknown" if outcome is None else ROWS[outcome].code


def _status(kind: Kind, body: Mapping[str, object]) -> int | None:
    status = _CREATED_STATUS if kind is Kind.CREATED else body.get("status")
    return status if type(status) is int else None


def dead_letter_report(story: Story) -> DeadLetterReport | None:
    """The copy, by the ledger or by Kafka."""
    if story.letter_reason is None:
        return None
    return DeadLetterReport(reason=safe(story.letter_reason), record=story.letter and record_place(story.letter))


def binding_report(story: Story) -> BindingReport | None:
    """To what the key of the result is bound now."""
    answer, bound = story.answer, story.bound
    if answer is None or answer.company_id is None or bound is None:
        return None
    since = time_of_ms(bound.created_ms)
    return BindingReport(
        company_id=answer.company_id,
        key=answer.key,
        passport_id=bound.passport_id,
        since=since,
        until=since + _BOUND_FOR,
    )


def charge_report(story: Story) -> ChargeReport | None:
    """What the passport cost."""
    charge = story.charge
    return None if charge is None else ChargeReport(price_cents=charge.price_cents, charged_at=charge.charged_at)
