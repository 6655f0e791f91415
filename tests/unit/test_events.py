"""Answers as bytes: every body exactly, every header in order."""

import json
from dataclasses import replace
from uuid import NAMESPACE_URL, uuid5

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from tests.unit.builders import (
    COMPANY,
    EARLIER,
    GTIN,
    LINK_BASE,
    NOW_MS,
    OTHER_COMPANY,
    PRODUCT,
    SERIAL,
    TEMPLATE,
    TOPIC,
    command,
    facts,
    keyed,
    opened,
    product,
)
from worker.domain.command import DeadLetter, Source, TraceContext
from worker.domain.decide import decide
from worker.domain.outcomes import (
    Asked,
    Created,
    CredentialsProblem,
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
    Replayed,
    SerialExists,
    SignatureProblem,
    SubscriptionInactive,
    Unauthorized,
    Unreadable,
)
from worker.domain.timestamps import LATEST_MS
from worker.messages.events import (
    RECORD_BYTES,
    Answer,
    Event,
    Header,
    dead_letter_event,
    describe,
    event_of,
    header_bytes,
)
from worker.messages.rules import Kind

REASONS = ("malformed", "key-unknown", "key-not-valid", "mismatch", "expired", "too-long-lived", "wrong", "required")

ASKED = Asked(COMPANY, PRODUCT, GTIN, "A\ud7ff€")
REQUEST = f'"request":{{"productId":"{PRODUCT}","gs1":{{"gtin":"{GTIN}","serialNumber":"A\\ud7ff\\u20ac"}}}}'
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PATH = f"{TOPIC}/3/7"
PASSPORT = command().source.passport_id

REFUSALS: list[tuple[Outcome, Kind, str | None, str]] = [
    (
        Unreadable("Expected UTF-8, got an invalid byte at 0"),
        Kind.REJECTED,
        None,
        '{"error":"Unreadable command","details":{"reason":"Expected UTF-8, got an invalid byte at 0"},"status":400}',
    ),
    (Unauthorized(), Kind.REJECTED, None, '{"error":"Unauthorized","status":401}'),
    *(
        (
            Unauthorized(reason),
            Kind.REJECTED,
            None,
            f'{{"error":"Unauthorized","details":{{"reason":"signature-{text}"}},"status":401}}',
        )
        for reason, text in zip(SignatureProblem, REASONS, strict=True)
    ),
    (
        Unauthorized(CredentialsProblem.KEYS_UNAVAILABLE),
        Kind.REJECTED,
        None,
        '{"error":"Unauthorized","details":{"reason":"keys-unavailable"},"status":401}',
    ),
    (
        Forbidden(COMPANY),
        Kind.REJECTED,
        COMPANY,
        '{"error":"Forbidden","details":{"requiredScope":"passports:write"},"status":403}',
    ),
    (
        MalformedIdempotencyKey(COMPANY),
        Kind.REJECTED,
        COMPANY,
        '{"error":"Validation error","details":{"fieldErrors":{"Idempotency-Key":'
        '["Expected one UTF-8 value of 1 to 255 characters without control characters"]}},"status":400}',
    ),
    (
        IdempotencyKeyReused(COMPANY),
        Kind.REJECTED,
        COMPANY,
        '{"error":"Idempotency-Key has already been used with a different request body. '
        'Use a new key for the new request, or reuse the original body.","status":422}',
    ),
    (
        Invalid(COMPANY, {"gs1.gtin": ["GTIN must be 14 digits"], "parties.\ud800": ["a", "b"]}),
        Kind.REJECTED,
        COMPANY,
        '{"error":"Validation error","details":{"fieldErrors":{"gs1.gtin":["GTIN must be 14 digits"],'
        '"parties.\\ud800":["a","b"]}},"status":400}',
    ),
    (
        Invalid(COMPANY, {"gs1.gtin": ["GTIN must be 14 digits"]}, 7900),
        Kind.REJECTED,
        COMPANY,
        '{"error":"Validation error","details":{"fieldErrors":{"gs1.gtin":["GTIN must be 14 digits"]},'
        '"omitted":7900},"status":400}',
    ),
    (
        SubscriptionInactive(ASKED, "past_due"),
        Kind.REJECTED,
        COMPANY,
        f'{{"error":"subscription_inactive","details":{{"status":"past_due"}},{REQUEST},"status":402}}',
    ),
    (
        ProductNotFound(replace(ASKED, parties={"importer": {"legalName": "X€", "gln": "4012345000009"}})),
        Kind.REJECTED,
        COMPANY,
        '{"error":"Product not found",'
        f'{REQUEST[:-1]},"parties":{{"importer":{{"legalName":"X\\u20ac","gln":"4012345000009"}}}}}},"status":404}}',
    ),
    (
        ProductNotFound(ASKED),
        Kind.REJECTED,
        COMPANY,
        f'{{"error":"Product not found",{REQUEST},"status":404}}',
    ),
    (
        DailyWritesSpent(ASKED, 200, 200),
        Kind.REJECTED,
        COMPANY,
        '{"error":"API rate limit: 200 writes/day via /api/v1. Currently 200 today; requested 1. '
        f'Retry tomorrow (UTC) or upgrade your plan.",{REQUEST},"status":429}}',
    ),
    (
        GtinRegistered(ASKED),
        Kind.CONFLICT,
        COMPANY,
        '{"error":"This GTIN is already registered by another company. Contact support if this is an error.",'
        f'"conflict":"gtin_registered",{REQUEST},"status":409}}',
    ),
    (
        SerialExists(ASKED, EARLIER),
        Kind.CONFLICT,
        COMPANY,
        '{"error":"Serial number already exists for this GTIN","conflict":"serial_exists",'
        f'"passportId":"{EARLIER}",{REQUEST},"status":409}}',
    ),
    (
        OverageRequired(ASKED, 100, 100, 75),
        Kind.OVERAGE_REQUIRED,
        COMPANY,
        '{"error":"overage_required","planLimit":100,"currentUsage":100,"extraPriceCents":75,"message":"DPP quota '
        'reached. Retry with { confirmOverage: true } to accept the per-passport charge.",'
        f'{REQUEST},"status":402}}',
    ),
    (
        HardBlock(ASKED, 100, 101),
        Kind.REJECTED,
        COMPANY,
        '{"error":"dpp_hard_block","planLimit":100,"currentUsage":101,"message":"DPP quota reached and this plan has '
        f'no overage. Upgrade your plan.",{REQUEST},"status":402}}',
    ),
]


@pytest.mark.parametrize(
    ("outcome", "kind", "company_id", "value"), REFUSALS, ids=[type(row[0]).__name__ for row in REFUSALS]
)
def test_the_body_of_every_refusal(outcome: Outcome, kind: Kind, company_id: str | None, value: str) -> None:
    """Byte for byte, on its topic; the company is known from rule 3 on."""
    answer = describe(keyed("k"), outcome, LINK_BASE)
    assert answer == Answer(7, NOW_MS, kind, "k", value.encode(), company_id)


FIELDS = '{"model":{"value":"48V","status":"approved","source":"product"},"colour":{"value":null,"status":"empty"}}'


def _created_value(serial: str, encoded: str, conformant: str, extra: str) -> bytes:
    return (
        f'{{"_id":"{PASSPORT}","companyId":"{COMPANY}","productId":"{PRODUCT}","templateId":"{TEMPLATE}",'
        f'"gs1":{{"gtin":"{GTIN}","serialNumber":"{serial}",'
        f'"digitalLinkUri":"https://id.tracepass.eu/p/01/{GTIN}/21/{encoded}","conformant":{conformant}}},'
        '"status":"draft","completionPercentage":50,"fieldCounts":{"total":2,"empty":1,"approved":1,'
        f'"pendingReview":0,"flagged":0}},"fields":{FIELDS},{extra}"createdAt":"2026-05-09T10:00:00.000Z"}}'
    ).encode()


PARTIES = {"recycler": {"url": "http://ü", "legalName": "X"}, "importer": {"gln": "4012345000009"}}


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({}, _created_value(SERIAL, SERIAL, "true", "")),
        ({"parties": {}}, _created_value(SERIAL, SERIAL, "true", "")),
        ({"serial": 'ü"\\/'}, _created_value('\\u00fc\\"\\\\/', "%C3%BC%22%5C%2F", "false", "")),
        (
            {"parties": PARTIES},
            _created_value(
                SERIAL,
                SERIAL,
                "true",
                '"parties":{"recycler":{"url":"http://\\u00fc","legalName":"X"},"importer":{"gln":"4012345000009"}},',
            ),
        ),
    ],
    ids=["plain", "empty-parties", "odd-serial", "parties"],
)
def test_the_body_of_a_created_passport(changes: dict[str, object], value: bytes) -> None:
    """The seed's 201 body, with what was sent."""
    wanted = command(**changes)
    answer = describe(wanted, decide(wanted, facts()), LINK_BASE)
    assert answer == Answer(7, NOW_MS, Kind.CREATED, f"{TOPIC}:3:7", value, COMPANY, PASSPORT)
    json.loads(answer.value)


@pytest.mark.parametrize("price", [0, 75])
def test_a_charged_passport_says_its_price(price: int) -> None:
    """Also if overage is sold for nothing. By its bytes: JSON readers take 75.0 for 75, and schemas do, too."""
    created = Created(PASSPORT, COMPANY, product(), GTIN, SERIAL, PARTIES, price, NOW_MS, 20582, None, None)
    assert b'"overage":{"priceCents":%d}' % price in describe(command(), created, LINK_BASE).value


def test_a_replay_repeats_the_created_body_under_the_new_record() -> None:
    """Same bytes, its own id, time and trace, and the header that says so."""
    trace = TraceContext(PARENT, b"a=1")
    answer = describe(keyed("ü", trace=trace), Replayed(COMPANY, EARLIER, b'{"_id":"x"}'), LINK_BASE)
    assert event_of(answer, TOPIC, 3) == Event(
        "ü".encode(),
        b'{"_id":"x"}',
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", str(uuid5(NAMESPACE_URL, PATH)).encode()),
            ("ce_source", b"/passport-worker"),
            ("ce_type", b"eu.tracepass.passport.created.v1"),
            ("ce_time", b"2026-05-09T10:00:00.000Z"),
            ("ce_subject", EARLIER.encode()),
            ("ce_companyid", COMPANY.encode()),
            ("ce_causationid", PATH.encode()),
            ("content-type", b"application/json"),
            ("traceparent", PARENT),
            ("tracestate", b"a=1"),
            ("idempotency-replayed", b"true"),
        ],
    )


def test_a_refusal_has_the_idempotency_key_as_its_subject() -> None:
    """No company before rule 2 has passed, no trace where none was sent."""
    event = event_of(describe(keyed("ü"), Unauthorized(), LINK_BASE), TOPIC, 3)
    assert event.key == "ü".encode()
    assert event.headers == [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(uuid5(NAMESPACE_URL, PATH)).encode()),
        ("ce_source", b"/passport-worker"),
        ("ce_type", b"eu.tracepass.passport.rejected.v1"),
        ("ce_time", b"2026-05-09T10:00:00.000Z"),
        ("ce_subject", "ü".encode()),
        ("ce_causationid", PATH.encode()),
        ("content-type", b"application/json"),
    ]


def test_a_trace_may_come_without_state() -> None:
    """Then none is made up."""
    answer = describe(command(trace=TraceContext(PARENT, None)), Unauthorized(), LINK_BASE)
    assert [name for name, _ in event_of(answer, TOPIC, 3).headers][-2:] == ["content-type", "traceparent"]


@pytest.mark.parametrize("offset", [0, 1, 2**63 - 1])
def test_event_ids_are_uuids_of_the_url_namespace(offset: int) -> None:
    """As the standard library computes them."""
    event = event_of(Answer(offset, 0, Kind.REJECTED, "k", b"{}"), "dpp.töpic", 11)
    assert dict(event.headers)["ce_id"] == str(uuid5(NAMESPACE_URL, f"dpp.töpic/11/{offset}")).encode()


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        (Kind.CREATED, "created"),
        (Kind.OVERAGE_REQUIRED, "overage-required"),
        (Kind.CONFLICT, "conflict"),
        (Kind.REJECTED, "rejected"),
    ],
)
def test_other_people_read_our_headers_as_a_cloud_event(kind: Kind, label: str) -> None:
    """The SDK of the CloudEvents project parses the binary mode and the time."""
    event = event_of(Answer(7, NOW_MS, kind, "k", b'{"a":1}', COMPANY), TOPIC, 3)
    headers = {name: value for name, value in event.headers if value is not None}
    parsed = from_binary(KafkaMessage(headers, event.key, event.value or b""), JSONFormat(), CloudEvent)
    assert parsed.get_type() == f"eu.tracepass.passport.{label}.v1" == f"eu.tracepass.passport.{kind.label}.v1"
    assert parsed.get_specversion() == "1.0"
    assert parsed.get_source() == "/passport-worker"
    assert parsed.get_subject() == "k"
    assert str(parsed.get_time()) == "2026-05-09 10:00:00+00:00"
    assert parsed.get_extension("companyid") == COMPANY
    assert parsed.get_extension("causationid") == PATH
    assert parsed.get_data() == {"a": 1}


def test_a_dead_letter_says_where_it_came_from() -> None:
    """The copy first, as it was, headers of the same names too; then our six."""
    kept: tuple[Header, ...] = (("b", None), ("dlq-reason", b"older"), ("b", b"\xff"))
    event = dead_letter_event(DeadLetter(None, b"\0", kept, "not-json"), Source(TOPIC, 3, 7, NOW_MS), "gröup")
    assert event == Event(
        None,
        b"\0",
        [
            *kept,
            ("dlq-original-topic", TOPIC.encode()),
            ("dlq-original-partition", b"3"),
            ("dlq-original-offset", b"7"),
            ("dlq-original-timestamp", b"1778320800000"),
            ("dlq-consumer-group", "gröup".encode()),
            ("dlq-reason", b"not-json"),
        ],
    )


def test_an_unreadable_record_brings_its_dead_letter_along() -> None:
    """Other refusals have none."""
    unreadable = opened(b"?")
    answer = describe(unreadable, decide(unreadable, facts()), LINK_BASE)
    assert answer.dead_letter == DeadLetter(b"k", b"?", (), "not-json")
    readable = opened(b"{}")
    assert describe(readable, decide(readable, facts()), LINK_BASE).dead_letter is None


@pytest.mark.parametrize("key", ["k", "\U0001f50b" * 255])
@pytest.mark.parametrize("trace", [None, TraceContext(PARENT, None), TraceContext(PARENT, b"a" * 512)])
def test_a_result_record_is_never_larger_than_its_answer_says(key: str, trace: TraceContext | None) -> None:
    """With key and headers, whatever is in them: what is larger than its topic takes would stop its lane."""
    answer = Answer(2**63 - 1, NOW_MS, Kind.OVERAGE_REQUIRED, key, b"{}", COMPANY, None, True, trace)
    assert _size(event_of(answer, "t" * 249, 2**31 - 1)) <= answer.record_bytes


def test_the_largest_records_fit_into_their_topics() -> None:
    """With all that the broker counts: 2 MiB is what `topics create` gives result and dead-letter topics."""
    largest = DeadLetter(b"k", b"x" * (RECORD_BYTES - 1), (), "repeated-authorization")
    event = dead_letter_event(largest, Source("t" * 249, 2**31 - 1, 2**63 - 1, LATEST_MS), "\U0001f50b" * 200)
    batch = DefaultRecordBatchBuilder(2, 0, 1, 1, 1, 1, 4 * 1024 * 1024)
    assert batch.append(0, LATEST_MS, event.key, event.value, event.headers) is not None
    assert RECORD_BYTES < _size(event) < len(batch.build()) <= 2 * 1024 * 1024


@pytest.mark.parametrize("length", [0, 63, 64, 8191, 8192, 2**20 - 1, 2**20])
def test_the_size_of_headers_is_that_on_the_wire(length: int) -> None:
    """A copy that fits is never left out."""
    headers: list[Header] = [("", None), ("n" * length, b"v" * length)]
    frame = DefaultRecordBatchBuilder.size_of(b"", b"", [])
    assert header_bytes(headers) == DefaultRecordBatchBuilder.size_of(b"", b"", headers) - frame


def _size(event: Event) -> int:
    return len(event.key or b"") + len(event.value or b"") + header_bytes(event.headers)


def test_nothing_of_another_company_is_shown() -> None:
    """Neither whose GTIN it is nor whose product."""
    known = facts()
    known.gtin_owners[GTIN] = OTHER_COMPANY
    answer = describe(command(), decide(command(), known), LINK_BASE)
    assert answer.kind is Kind.CONFLICT
    assert OTHER_COMPANY.encode() not in repr(event_of(answer, TOPIC, 3)).encode()
