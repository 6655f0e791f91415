"""Turns evidence into the parts of a report, which show only as much of credentials as identifies them."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial

from pydantic import JsonValue

from worker.domain.command import ApiKey, CreatePassport, Signature
from worker.domain.places import Place
from worker.domain.timestamps import time_of_ms
from worker.messages.envelope import Envelope, Record, body_of, open_envelope
from worker.messages.rules import ROWS
from worker.tools.common.answers import body_of_value, child, outcome_class
from worker.tools.common.records import WIDEST, label_of, masked
from worker.tools.common.report import json_safe
from worker.tools.common.why import why
from worker.tools.explain import report
from worker.tools.explain.evidence import Evidence

HASH_DIGITS = 8
_MOST_KEY_ID = 100
_BOUND_FOR = timedelta(hours=24)
# In Unix seconds: an access token may state any number.
_LATEST_EXPIRY = 1e12


def record_place(record: Record | Place) -> report.RecordPlace:
    """The place of a record, as reports have it."""
    return report.RecordPlace(topic=record.topic, partition=record.partition, offset=record.offset)


def command_report(evidence: Evidence) -> report.CommandReport | None:
    """The record on the command topic; None if Kafka does not have it."""
    record = evidence.record
    if record is None:
        return None
    envelope = open_envelope(record, WIDEST, evidence.audience)
    return report.CommandReport(
        appended_at=time_of_ms(record.timestamp_ms),
        key=None if record.key is None else masked(record.key.decode("utf-8", "backslashreplace")),
        key_bytes=len(record.key or b""),
        value_bytes=len(record.value or b""),
        headers=len(record.headers),
        idempotency_key=envelope.command.idempotency_key,
        credentials=_credentials_report(evidence, envelope),
        asked=_asked_report(record, envelope.command.body),
    )


def _credentials_report(evidence: Evidence, envelope: Envelope) -> report.CredentialsReport:
    credentials, label = envelope.command.credentials, evidence.key_label
    report_of = partial(report.CredentialsReport, label=None, hash_digits=None, key_id=None, expires_at=None)
    label = None if label is None else json_safe(label)
    if isinstance(credentials, Signature):
        return report_of(
            kind="signature",
            label=label,
            key_id=masked(credentials.key_id)[:_MOST_KEY_ID],
            expires_at=time_of_ms(credentials.expires_ms),
            misfit=credentials.misfit,
        )
    if isinstance(credentials, ApiKey):
        # A key that passed rule 2 is known to the database, even if our role may not look for its hash there.
        is_known = label is not None or (evidence.answer is not None and evidence.answer.company_id is not None)
        digits = credentials.digest.hex()[:HASH_DIGITS] if is_known else None
        return report_of(kind="api-key", label=label, hash_digits=digits)
    if envelope.token is None:
        return report_of(kind=str(credentials))
    token = label_of(envelope.token)
    expires = None if token.expires_at is None else max(0.0, min(token.expires_at, _LATEST_EXPIRY))
    return report_of(
        kind="access-token",
        key_id=None if token.key_id is None else masked(token.key_id)[:_MOST_KEY_ID],
        expires_at=None if expires is None else time_of_ms(int(expires * 1000)),
    )


def _asked_report(record: Record, content: object) -> report.AskedReport | None:
    """Values of a valid body as the rules saw them; of an invalid body those values that have the right type."""
    if isinstance(content, CreatePassport):
        return report.AskedReport(
            product_id=content.product_id,
            gtin=content.gtin,
            serial_number=content.serial,
            confirm_overage=content.confirm_overage,
        )
    body = body_of(record, WIDEST)
    if not isinstance(body, dict):
        return None
    unit = child(body, "gs1")
    values = {"product_id": body.get("productId"), "gtin": unit.get("gtin"), "serial_number": unit.get("serialNumber")}
    confirmed = body.get("confirmOverage")
    return report.AskedReport(
        **{name: masked(value) if isinstance(value, str) else None for name, value in values.items()},
        confirm_overage=confirmed if isinstance(confirmed, bool) else None,
    )


def lane_position(evidence: Evidence) -> report.LanePosition | None:
    """The positions of the lane, as far as they are known."""
    if evidence.lane is None and evidence.log is None:
        return None
    position = evidence.position
    emitted = evidence.emitted if evidence.emitted is not None or position is None else position.emitted
    return report.LanePosition(
        applied=position and position.applied,
        emitted=emitted,
        ledger_from=position and position.ledger_from,
        log_start=evidence.log and evidence.log.first,
        log_end=evidence.log and evidence.log.end,
    )


def outcome_report(evidence: Evidence) -> report.OutcomeReport | None:
    """How the command was answered, and why."""
    answer = evidence.answer
    if answer is None:
        return None
    body = body_of_value(answer.value)
    outcome = outcome_class(answer.kind, body, replayed=answer.replayed)
    rule = None if outcome is None else ROWS[outcome]
    status = body.get("status") if rule is None else rule.status
    return report.OutcomeReport(
        code="unknown" if rule is None else rule.code,
        status=status if type(status) is int else None,
        rule=None if rule is None else report.RuleReport(number=rule.number, name=rule.name),
        why=json_safe(why(outcome, body, evidence.currency)),
        event=answer.kind.label,
        company_id=answer.company_id,
        company_name=evidence.company_name,
        passport_id=answer.passport_id,
        key=answer.key,
        body=_json_value(body),
        source="ledger" if evidence.from_ledger else "result",
        emitted=True if evidence.result else None if evidence.emitted is None else answer.offset < evidence.emitted,
        result=evidence.result and record_place(evidence.result),
    )


def _json_value(value: object) -> JsonValue:
    """A parsed body whose texts are safe for JSON."""
    if isinstance(value, Mapping):
        return {json_safe(str(name)): _json_value(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    if isinstance(value, str):
        return json_safe(value)
    return value if isinstance(value, bool | int | float) else None


def dead_letter_report(evidence: Evidence) -> report.DeadLetterReport | None:
    """The copy on the dead-letter topic, according to the ledger or to the copy itself."""
    if evidence.letter_reason is None:
        return None
    copy = evidence.letter and record_place(evidence.letter)
    return report.DeadLetterReport(reason=json_safe(evidence.letter_reason), record=copy)


def binding_report(evidence: Evidence) -> report.BindingReport | None:
    """The passport to which the key of the result is bound now."""
    answer, bound = evidence.answer, evidence.bound
    if answer is None or answer.company_id is None or bound is None:
        return None
    since = time_of_ms(bound.created_ms)
    return report.BindingReport(
        company_id=answer.company_id,
        key=answer.key,
        passport_id=bound.passport_id,
        since=since,
        until=since + _BOUND_FOR,
    )
