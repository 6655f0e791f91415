"""Restores a command from its published result, if the result fits the command."""

import json
from typing import Any, NamedTuple

from worker.domain.catalogue import Product
from worker.domain.command import Command, CreatePassport, DeadLetter, Source
from worker.domain.outcomes import Created, Unreadable
from worker.domain.seeding import SeededFields
from worker.domain.timestamps import clamp_ms, format_ms, utc_day
from worker.messages.envelope import Record
from worker.messages.events import Answer
from worker.messages.rules import REFUSALS, Kind
from worker.tools.common.records import command_of

_UNREADABLE = REFUSALS[Unreadable].error
# A passport's row refers to its product; the fields are in the body of the result.
_NOT_KEPT = SeededFields(0, 0, "")


class Contradiction(ValueError):
    """A command cannot have this result; the text says what does not fit."""


class RestoredCommand(NamedTuple):
    """A command as Postgres has to hold it again; `created` is the passport, if the command made one."""

    answer: Answer
    created: Created | None


def source_of(record: Record) -> Source:
    """The place and time of a command, as the rules see them."""
    return Source(record.topic, record.partition, record.offset, clamp_ms(record.timestamp_ms))


def needs_letter(answer: Answer) -> bool:
    """Whether the command must have a dead letter, too. Raises `Contradiction`."""
    return answer.kind is Kind.REJECTED and _body_of(answer).get("error") == _UNREADABLE


def restore(record: Record, answer: Answer, letter: DeadLetter | None) -> RestoredCommand:
    """Restore a command from its one result and its dead letter, if it has one. Raises `Contradiction`."""
    command = command_of(record)
    _expect(answer.appended_ms == command.source.appended_ms, "its time is not that of the command")
    _expect(answer.key == command.key, "its key is not that of the command")
    _expect(answer.trace == command.trace, "its trace context is not that of the command")
    body = _body_of(answer)
    _expect(letter is None or needs_letter(answer), "the command has a dead letter, although it could be read")
    restored = answer if letter is None else answer._replace(dead_letter=letter)
    if answer.kind is not Kind.CREATED:
        return RestoredCommand(restored, None)
    if answer.replayed:
        _expect(command.idempotency_key is not None, "it is replayed, but the command has no idempotency key")
        return RestoredCommand(restored, None)
    return RestoredCommand(restored, _created(command, answer, body))


def _created(command: Command, answer: Answer, body: dict[str, Any]) -> Created:
    sent, gs1 = command.body, body.get("gs1")
    if not isinstance(sent, CreatePassport):
        raise Contradiction("it created a passport, but the command is not valid")
    if not isinstance(gs1, dict):
        raise Contradiction("its body has no gs1")
    unit = (body.get("productId"), gs1.get("gtin"), gs1.get("serialNumber"))
    _expect(unit == (sent.product_id, sent.gtin, sent.serial), "product, GTIN or serial is not that of the command")
    ids = {body.get("_id"), answer.passport_id, command.source.passport_id}
    _expect(len(ids) == 1, "its passport id is not that of the command's place")
    _expect(body.get("companyId") == answer.company_id, "its company differs between body and header")
    _expect(body.get("createdAt") == format_ms(answer.appended_ms), "its createdAt is not the command's time")
    template, overage = body.get("templateId"), body.get("overage")
    _expect(isinstance(template, str), "its body has no templateId")
    return Created(
        passport_id=command.source.passport_id,
        company_id=str(answer.company_id),
        product=Product(sent.product_id, str(answer.company_id), str(template), _NOT_KEPT),
        gtin=sent.gtin,
        serial=sent.serial,
        parties=None,
        overage_price_cents=None if overage is None else int(overage["priceCents"]),
        created_ms=answer.appended_ms,
        utc_day=utc_day(answer.appended_ms),
        idempotency_key=command.idempotency_key,
        fingerprint=command.fingerprint,
    )


def _body_of(answer: Answer) -> dict[str, Any]:
    try:
        body = json.loads(answer.value)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Contradiction("its value is not a JSON object")
    return body


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Contradiction(otherwise)
