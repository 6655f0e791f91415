"""From an outcome to its answer: topic kind, key, CloudEvents headers and body bytes, the same for the same record."""

from collections.abc import Sequence
from hashlib import sha1
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple, assert_never
from uuid import NAMESPACE_URL

from worker.domain import gs1
from worker.domain.command import Command, DeadLetter, Source, TraceContext
from worker.domain.decide import REQUIRED_SCOPE
from worker.domain.outcomes import (
    Created,
    DailyWritesSpent,
    Forbidden,
    GtinRegistered,
    HardBlock,
    IdempotencyKeyReused,
    Invalid,
    MalformedIdempotencyKey,
    Outcome,
    OverageRequired,
    ProductNotFound,
    Refused,
    RefusedRequest,
    Replayed,
    SerialExists,
    SubscriptionInactive,
    Unauthorized,
    Unreadable,
)
from worker.domain.places import Place
from worker.domain.seeding import compact_json
from worker.domain.timestamps import iso_8601
from worker.messages.refusals import REFUSALS, Kind, Refusal

Header = tuple[str, bytes | None]

RECORD_BYTES = 2 * 1024 * 1024 - 64 * 1024
"""Result and dead-letter topics take 2 MiB, headers and all. A record beyond that would stop its lane for good."""


_TYPES = {kind: f"eu.tracepass.passport.{kind.label}.v1".encode() for kind in Kind}


class Answer(NamedTuple):
    """What the ledger keeps of one record, and all that its result records are made of.

    `passport_id` is set for created and replayed answers; `company_id` once the credentials were good.
    """

    offset: int
    appended_ms: int
    kind: Kind
    key: str
    value: bytes
    company_id: str | None = None
    passport_id: str | None = None
    replayed: bool = False
    trace: TraceContext | None = None
    dead_letter: DeadLetter | None = None

    @property
    def record_bytes(self) -> int:
        """At most so many bytes does the result record hold, with its key and headers."""
        trace = self.trace
        carried = 0 if trace is None else len(trace.traceparent) + len(trace.tracestate or b"")
        return len(self.value) + 2 * _MOST_BYTES_A_CHARACTER * len(self.key) + carried + _OTHER_HEADERS_BYTES


_MOST_BYTES_A_CHARACTER = 4
_OTHER_HEADERS_BYTES = 1024
"""Names, and values that nobody outside decides on; the topic's name, of at most 249 bytes, is in one of them."""


def header_bytes(headers: Sequence[Header]) -> int:
    """What headers take in a record, with the lengths that stand before each name and value."""
    return sum(_with_length(len(name.encode("utf-8"))) + _with_length(len(value or b"")) for name, value in headers)


def _with_length(size: int) -> int:
    """Lengths are zigzag varints: seven bits a byte, one of which says the sign."""
    return size + (size.bit_length() + 7) // 7


class Event(NamedTuple):
    """A record to publish."""

    key: bytes | None
    value: bytes | None
    headers: list[Header]


def describe(command: Command, outcome: Outcome, digital_link_base: str) -> Answer:
    """The answer to a command, from its outcome alone."""
    source = command.source
    if isinstance(outcome, Created):
        return Answer(
            source.offset,
            source.appended_ms,
            Kind.CREATED,
            command.key,
            created_body(outcome, digital_link_base),
            outcome.company_id,
            outcome.passport_id,
            False,
            command.trace,
        )
    if isinstance(outcome, Replayed):
        return Answer(
            source.offset,
            source.appended_ms,
            Kind.CREATED,
            command.key,
            outcome.created_body,
            outcome.company_id,
            outcome.passport_id,
            replayed=True,
            trace=command.trace,
        )
    refusal = REFUSALS[type(outcome)]
    return Answer(
        source.offset,
        source.appended_ms,
        refusal.kind,
        command.key,
        compact_json(_refused_body(outcome, refusal)).encode("ascii"),
        company_of(outcome),
        trace=command.trace,
        dead_letter=command.dead_letter,
    )


def created_body(created: Created, digital_link_base: str) -> bytes:
    """The REST API's 201 body. Text that is the same for a product was encoded once."""
    seeded = created.product.seeded
    serial = quoted(created.serial)
    uri = quoted(gs1.digital_link_uri(digital_link_base, created.gtin, created.serial))
    conformant = "true" if gs1.is_conformant_serial(created.serial) else "false"
    parties = f'"parties":{compact_json(created.parties)},' if created.parties else ""
    price = created.overage_price_cents
    overage = f'"overage":{{"priceCents":{price}}},' if price is not None else ""
    return (
        f'{{"_id":"{created.passport_id}","companyId":"{created.company_id}","productId":"{created.product.id}",'
        f'"templateId":"{created.product.template_id}","gs1":{{"gtin":"{created.gtin}","serialNumber":{serial},'
        f'"digitalLinkUri":{uri},"conformant":{conformant}}},"status":"draft",'
        f'"completionPercentage":{seeded.completion_percentage},"fieldCounts":{{"total":{seeded.total},'
        f'"empty":{seeded.total - seeded.approved},"approved":{seeded.approved},"pendingReview":0,"flagged":0}},'
        f'"fields":{seeded.json},{parties}{overage}"createdAt":"{iso_8601(created.created_ms)}"}}'
    ).encode("ascii")


def _refused_body(outcome: Refused, refusal: Refusal) -> dict[str, object]:
    """In the order in which its fields are written."""
    body: dict[str, object] = {"error": refusal.error, **_particulars(outcome, refusal)}
    if isinstance(outcome, RefusedRequest):
        asked = outcome.asked
        body["request"] = {"productId": asked.product_id, "gs1": {"gtin": asked.gtin, "serialNumber": asked.serial}}
    body["status"] = refusal.status
    return body


def _particulars(outcome: Refused, refusal: Refusal) -> dict[str, object]:  # noqa: C901 - one case a rule
    """What the body of this refusal has beside what all have; an `error` in place of the one that all have."""
    match outcome:
        case Unauthorized(None) | IdempotencyKeyReused() | ProductNotFound():
            return {}
        case Unreadable(reason) | Unauthorized(reason):
            return {"details": {"reason": reason}}
        case Forbidden():
            return {"details": {"requiredScope": REQUIRED_SCOPE}}
        case MalformedIdempotencyKey():
            message = "Expected one UTF-8 value of 1 to 255 characters without control characters"
            return {"details": {"fieldErrors": {"Idempotency-Key": [message]}}}
        case Invalid(_, field_errors, omitted):
            return {"details": {"fieldErrors": field_errors, **({"omitted": omitted} if omitted else {})}}
        case SubscriptionInactive(_, subscription):
            return {"details": {"status": subscription}}
        case DailyWritesSpent(_, per_day, today):
            return {"error": refusal.error.format(per_day=per_day, today=today)}
        case GtinRegistered():
            return {"conflict": refusal.conflict}
        case SerialExists(_, passport_id):
            return {"conflict": refusal.conflict, "passportId": passport_id}
        case OverageRequired(_, limit, usage, price):
            quota = {"planLimit": limit, "currentUsage": usage, "extraPriceCents": price}
            return {**quota, "message": refusal.message}
        case HardBlock(_, limit, usage):
            return {"planLimit": limit, "currentUsage": usage, "message": refusal.message}
        case _:
            assert_never(outcome)


def company_of(outcome: Outcome) -> str | None:
    """Whose command it was; None as long as the credentials were not good."""
    if isinstance(outcome, RefusedRequest):
        return outcome.asked.company_id
    return None if isinstance(outcome, Unreadable | Unauthorized) else outcome.company_id


def event_of(answer: Answer, topic: str, partition: int) -> Event:
    """The result record: CloudEvents 1.0 binary mode. `topic` is the command topic."""
    offset, appended_ms, kind, key, value, company_id, passport_id, replayed, trace, _ = answer
    place = str(Place(topic, partition, offset)).encode()
    headers: list[Header] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", uuid5_of_url(place)),
        ("ce_source", b"/passport-worker"),
        ("ce_type", _TYPES[kind]),
        ("ce_time", iso_8601(appended_ms).encode("ascii")),
        ("ce_subject", (passport_id or key).encode("utf-8")),
    ]
    if company_id is not None:
        headers.append(("ce_companyid", company_id.encode("utf-8")))
    headers.append(("ce_causationid", place))
    headers.append(("content-type", b"application/json"))
    if trace is not None:
        headers.append(("traceparent", trace.traceparent))
        if trace.tracestate is not None:
            headers.append(("tracestate", trace.tracestate))
    if replayed:
        headers.append(("idempotency-replayed", b"true"))
    return Event(key.encode("utf-8"), value, headers)


def dead_letter_event(letter: DeadLetter, source: Source, group_id: str) -> Event:
    """The dead-letter record: the copy, and where it came from."""
    headers: list[Header] = [
        *letter.headers,
        ("dlq-original-topic", source.topic.encode("utf-8")),
        ("dlq-original-partition", str(source.partition).encode("ascii")),
        ("dlq-original-offset", str(source.offset).encode("ascii")),
        ("dlq-original-timestamp", str(source.appended_ms).encode("ascii")),
        ("dlq-consumer-group", group_id.encode("utf-8")),
        ("dlq-reason", letter.reason.encode("ascii")),
    ]
    return Event(letter.key, letter.value, headers)


def uuid5_of_url(name: bytes) -> bytes:
    """UUIDv5 in the URL namespace (RFC 9562 section 5.5), as `uuid.uuid5` computes it."""
    digest = sha1(_URL + name, usedforsecurity=False).hexdigest()
    variant = _VARIANT[digest[16]]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}".encode("ascii")


_URL = NAMESPACE_URL.bytes
_VARIANT = {f"{digit:x}": f"{digit & 0b0011 | 0b1000:x}" for digit in range(16)}
"""RFC 9562 section 4.1: the first bits of the ninth octet are 10."""
