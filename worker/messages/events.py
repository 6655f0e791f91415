"""Makes an answer of an outcome, and an event of an answer. The same record always yields the same bytes."""

from collections.abc import Sequence
from hashlib import sha1
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL

from worker.domain import gs1
from worker.domain.command import Command, DeadLetter, Source, TraceContext
from worker.domain.outcomes import Created, Outcome, Refused, RefusedRequest, Replayed, Unauthorized, Unreadable
from worker.domain.places import Place, place_text
from worker.domain.timestamps import format_ms
from worker.messages.json_value import ascii_json
from worker.messages.rules import ROWS, Kind, OutcomeRow

Header = tuple[str, bytes | None]

# Result and dead-letter topics take 2 MiB with headers. A larger record would stop its lane for good.
RECORD_BYTES = 2 * 1024 * 1024 - 64 * 1024


_TYPES = {kind: f"eu.tracepass.passport.{kind.label}.v1".encode() for kind in Kind}


class Answer(NamedTuple):
    """A ledger row in memory: everything that the result of one record is made from.

    `passport_id` is set for created and replayed answers, `company_id` if the credentials were good.
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
        """Upper bound of the result record's size, with key and headers."""
        trace = self.trace
        carried = 0 if trace is None else len(trace.traceparent) + len(trace.tracestate or b"")
        # The key counts twice: for refusals it is also the `ce_subject`.
        return len(self.value) + 2 * _MOST_BYTES_A_CHARACTER * len(self.key) + carried + _OTHER_HEADERS_BYTES


_MOST_BYTES_A_CHARACTER = 4
# Names of headers, and values that no producer chooses. The topic's name in them has at most 249 bytes.
_OTHER_HEADERS_BYTES = 1024


def header_bytes(headers: Sequence[Header]) -> int:
    """Bytes of headers in a record, with the lengths in front of each name and value."""
    return sum(_with_length(len(name.encode("utf-8"))) + _with_length(len(value or b"")) for name, value in headers)


def _with_length(size: int) -> int:
    """A size with the bytes of its length, a zigzag varint: seven bits a byte, of which one in all is the sign."""
    return size + (size.bit_length() + 7) // 7


class Event(NamedTuple):
    """A record to publish."""

    key: bytes | None
    value: bytes | None
    headers: list[Header]


def describe(command: Command, outcome: Outcome, digital_link_base: str) -> Answer:
    """The answer to a command with this outcome."""
    row = ROWS[type(outcome)]
    passport_id = None
    if isinstance(outcome, Created):
        value, passport_id = created_body(outcome, digital_link_base), outcome.passport_id
        company_id: str | None = outcome.company_id
    elif isinstance(outcome, Replayed):
        value, passport_id, company_id = outcome.created_body, outcome.passport_id, outcome.company_id
    else:
        value, company_id = _refused_body(outcome, row), company_of(outcome)
    return Answer(
        command.source.offset,
        command.source.appended_ms,
        row.kind,
        command.key,
        value,
        company_id,
        passport_id,
        isinstance(outcome, Replayed),
        command.trace,
        command.dead_letter,
    )


def created_body(created: Created, digital_link_base: str) -> bytes:
    """The REST API's 201 body. The fields were encoded once for the product, since they are most of it."""
    seeded = created.product.seeded
    serial = quoted(created.serial)
    uri = quoted(gs1.digital_link_uri(digital_link_base, created.gtin, created.serial))
    conformant = "true" if gs1.is_conformant_serial(created.serial) else "false"
    parties = f'"parties":{ascii_json(created.parties).decode("ascii")},' if created.parties else ""
    price = created.overage_price_cents
    overage = f'"overage":{{"priceCents":{price}}},' if price is not None else ""
    return (
        f'{{"_id":"{created.passport_id}","companyId":"{created.company_id}","productId":"{created.product.id}",'
        f'"templateId":"{created.product.template_id}","gs1":{{"gtin":"{created.gtin}","serialNumber":{serial},'
        f'"digitalLinkUri":{uri},"conformant":{conformant}}},"status":"draft",'
        f'"completionPercentage":{seeded.completion_percentage},"fieldCounts":{{"total":{seeded.total},'
        f'"empty":{seeded.total - seeded.approved},"approved":{seeded.approved},"pendingReview":0,"flagged":0}},'
        f'"fields":{seeded.json},{parties}{overage}"createdAt":"{format_ms(created.created_ms)}"}}'
    ).encode("ascii")


def _refused_body(outcome: Refused, row: OutcomeRow[Any]) -> bytes:
    """The members of a refusal, in the order in which they are published."""
    body: dict[str, object] = {"error": row.error.format(outcome)}
    if row.conflict is not None:
        body["conflict"] = row.conflict
    body |= row.members(outcome)
    if row.message is not None:
        body["message"] = row.message
    if isinstance(outcome, RefusedRequest):
        asked = outcome.asked
        request: dict[str, object] = {
            "productId": asked.product_id,
            "gs1": {"gtin": asked.gtin, "serialNumber": asked.serial},
        }
        if asked.parties:
            request["parties"] = asked.parties
        body["request"] = request
    body["status"] = row.status
    return ascii_json(body)


def company_of(outcome: Outcome) -> str | None:
    """The company that sent the command; None if its credentials were not good."""
    if isinstance(outcome, RefusedRequest):
        return outcome.asked.company_id
    return None if isinstance(outcome, Unreadable | Unauthorized) else outcome.company_id


def event_of(answer: Answer, topic: str, partition: int) -> Event:
    """The result record, in CloudEvents 1.0 binary mode. `topic` is the command topic."""
    offset, appended_ms, kind, key, value, company_id, passport_id, replayed, trace, _ = answer  # faster than names
    place = place_text(topic, partition, offset).encode()
    headers: list[Header] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", uuid5_of_url(place)),
        ("ce_source", b"/passport-worker"),
        ("ce_type", _TYPES[kind]),
        ("ce_time", format_ms(appended_ms).encode("ascii")),
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


def cause_text(headers: Sequence[Header]) -> bytes:
    """The text by which a result names its command; empty if it has none."""
    for name, value in reversed(headers):  # it is among the last
        if name == "ce_causationid" and value is not None:
            return value
    return b""


def cause_of(headers: Sequence[Header]) -> Place | None:
    """The command that a result names; None if it names none."""
    return Place.parse(cause_text(headers))


def dead_letter_event(letter: DeadLetter, source: Source, group_id: str) -> Event:
    """The dead-letter record: the copy of a command record, with its place."""
    # The copied headers come first, unchanged. They may have these names, too; the last one of a name is the worker's.
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
    # Not with `uuid.uuid5`, which takes several times as long.
    digest = sha1(_URL + name, usedforsecurity=False).hexdigest()
    variant = _VARIANT[digest[16]]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}".encode("ascii")


_URL = NAMESPACE_URL.bytes
# RFC 9562 section 4.1: the first bits of the ninth octet are 10.
_VARIANT = {f"{digit:x}": f"{digit & 0b0011 | 0b1000:x}" for digit in range(16)}
