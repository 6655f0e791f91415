"""Whether a published result fits its command, and what Postgres has to hold again because of it."""

import json
from dataclasses import dataclass
from typing import Any

from worker.domain.catalogue import Product
from worker.domain.command import Command, CreatePassport, DeadLetter, Source
from worker.domain.outcomes import Created, Unreadable
from worker.domain.seeding import SeededFields
from worker.domain.timestamps import clamp_ms, format_ms, utc_day
from worker.messages.envelope import Limits, Record, open_envelope
from worker.messages.events import Answer
from worker.messages.rules import REFUSALS, Kind
from worker.settings import Settings


def widest_limits() -> Limits:
    """The bounds of a readable record that any settings allow: a worker may have had others than these settings."""
    most = {name: field.metadata for name, field in Settings.model_fields.items() if name.startswith("limit_")}
    bounds = {name: next(one.le for one in found if hasattr(one, "le")) for name, found in most.items()}
    return Limits(
        bounds["limit_value_bytes"], bounds["limit_headers"], bounds["limit_header_bytes"], bounds["limit_json_depth"]
    )


_WIDEST = widest_limits()
_UNREADABLE = REFUSALS[Unreadable].error
_NOT_KEPT = SeededFields(0, 0, "")
"""A passport's row refers to its product; the fields are in its body."""


class Contradiction(ValueError):
    """The result of a command is not one that this command can have; the text says what does not fit."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What Postgres has to hold again for one command; `created` is the passport, if it made one."""

    answer: Answer
    created: Created | None


def source_of(record: Record) -> Source:
    """Where a command comes from, with its time as the rules see it."""
    return Source(record.topic, record.partition, record.offset, clamp_ms(record.timestamp_ms))


def restored(record: Record, answer: Answer, letter: DeadLetter | None) -> Restored:
    """From a command, its one result and its dead letter, if it has one. Raises `Contradiction`."""
    command = open_envelope(record, _WIDEST).command
    _expect(answer.appended_ms == command.source.appended_ms, "its time is not that of the command")
    _expect(answer.key == command.key, "its key is not that of the command")
    _expect(answer.trace == command.trace, "its trace context is not that of the command")
    body = _body_of(answer)
    is_unreadable = answer.kind is Kind.REJECTED and body.get("error") == _UNREADABLE
    _expect(letter is None or is_unreadable, "there is a dead letter of a command that was read")
    kept = answer if letter is None else answer._replace(dead_letter=letter)
    if answer.kind is not Kind.CREATED:
        return Restored(kept, None)
    if answer.replayed:
        _expect(command.idempotency_key is not None, "it is replayed, and the command has no idempotency key")
        return Restored(kept, None)
    return Restored(kept, _created(command, answer, body))


def needs_letter(answer: Answer) -> bool:
    """Whether a dead letter has to be there, too."""
    return answer.kind is Kind.REJECTED and _body_of(answer).get("error") == _UNREADABLE


def _created(command: Command, answer: Answer, body: dict[str, Any]) -> Created:
    asked, gs1 = command.body, body.get("gs1")
    _expect(isinstance(asked, CreatePassport), "it created a passport, and the command is not valid")
    assert isinstance(asked, CreatePassport)
    _expect(isinstance(gs1, dict), "its body has no gs1")
    assert isinstance(gs1, dict)
    found = (body.get("productId"), gs1.get("gtin"), gs1.get("serialNumber"))
    _expect(found == (asked.product_id, asked.gtin, asked.serial), "product, GTIN or serial is not that of the command")
    ids = {body.get("_id"), answer.passport_id, command.source.passport_id}
    _expect(len(ids) == 1, "its passport id is not that of the command's place")
    _expect(body.get("companyId") == answer.company_id, "its company is another one in body and header")
    _expect(body.get("createdAt") == format_ms(answer.appended_ms), "its createdAt is not the command's time")
    template, overage = body.get("templateId"), body.get("overage")
    _expect(isinstance(template, str), "its body has no templateId")
    return Created(
        passport_id=command.source.passport_id,
        company_id=str(answer.company_id),
        product=Product(asked.product_id, str(answer.company_id), str(template), _NOT_KEPT),
        gtin=asked.gtin,
        serial=asked.serial,
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
    _expect(isinstance(body, dict), "its value is no JSON object")
    assert isinstance(body, dict)
    return body


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Contradiction(otherwise)
