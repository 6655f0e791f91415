"""Reading: which records are readable, and what their headers mean."""

import json
from hashlib import sha256

import pytest

from tests.unit.builders import API_KEY, BEARER, LIMITS, NOW_MS, PRODUCT, TOPIC, as_json, body, opened, record
from worker.domain.command import (
    ApiKey,
    CreatePassport,
    DeadLetter,
    InvalidBody,
    NoCredentials,
    Source,
    TraceContext,
    UnreadableRecord,
)
from worker.domain.timestamps import LATEST_MS
from worker.messages.envelope import MOST_HEADERS, Limits, Record, dead_letter, open_envelope, without_excess
from worker.messages.events import RECORD_BYTES, Header
from worker.messages.json_value import fingerprint

STRUCTURED: Header = ("content-type", b"application/cloudevents+json")
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _code(value: bytes | None, *headers: Header, limits: Limits = LIMITS) -> str | None:
    """Why the record is unreadable, or None."""
    content = opened(value, *headers, limits=limits).body
    return content.code if isinstance(content, UnreadableRecord) else None


def test_a_plain_record_is_a_command() -> None:
    """Source, credentials and body, and nothing that was not sent."""
    envelope = open_envelope(record(), LIMITS)
    command = envelope.command
    assert envelope.token is None
    assert command.source == Source(TOPIC, 3, 7, NOW_MS)
    assert command.key == f"{TOPIC}:3:7"
    assert command.credentials == ApiKey(sha256(API_KEY.encode()).digest())
    assert isinstance(command.body, CreatePassport)
    assert command.body.product_id == PRODUCT
    assert (command.idempotency_key, command.key_is_malformed, command.fingerprint) == (None, False, None)
    assert (command.trace, command.dead_letter) == (None, None)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "tombstone"),
        (b"", "empty-value"),
        (b" ", "not-json"),
        (b"[]", "not-an-object"),
        (b"\xff", "not-utf8"),
        (b"\xef\xbb\xbf{}", "bom"),
        (b'{"a":{},"a":{}}', "duplicate-key"),
        (b'{"a":1e999}', "number-out-of-range"),
        (b'{"a":' * 32 + b"0" + b"}" * 32, None),
        (b'{"a":' * 33 + b"0" + b"}" * 33, "too-deep"),
        (b'{"a":"' + b"x" * (64 * 1024 - 8) + b'"}', None),
        (b'{"a":"' + b"x" * (64 * 1024 - 7) + b'"}', "value-too-large"),
        (b"{}", None),
    ],
    ids=["null", "empty", "blank", "array", "not-utf8", "bom", "duplicate", "number", "32", "33", "64K", "64K+1", "{}"],
)
def test_values_within_the_limits_are_readable(value: bytes | None, code: str | None) -> None:
    """Each limit passes at its edge and refuses one step after it."""
    assert _code(value) == code


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([("x", b"")] * 63, None),
        ([("x", b"")] * 64, "too-many-headers"),
        ([("x", b"x" * 8192)], None),
        ([("x", b"x" * 8193)], "header-too-large"),
        ([("x" * 9000, b"")], None),
        ([("x", None), ("", b"\xff\0"), ("\ud800", b"\xed\xa0\x80")], None),
        ([BEARER], "repeated-authorization"),
        ([("AUTHORIZATION", None)], "repeated-authorization"),
        ([("authorization ", b"other")], None),
    ],
    ids=["64", "65", "8K", "8K+1", "name", "odd", "repeated", "repeated-case", "other-name"],
)
def test_headers_within_the_limits_are_readable(headers: list[Header], code: str | None) -> None:
    """Their number and their values are bounded, their names and bytes are free."""
    assert _code(as_json(body()), *headers) == code


def test_limits_are_settings() -> None:
    """All four of them, named in the reason."""
    small = Limits(value_bytes=10, headers=2, header_bytes=30, json_depth=1)
    assert opened(b'{"a":"xxx"}', limits=small).body == UnreadableRecord(
        "value-too-large", "Expected a value of at most 10 bytes"
    )
    assert _code(b"{}", ("a", b""), ("b", b""), limits=small) == "too-many-headers"
    assert _code(b"{}", ("a", b"x" * 31), limits=small) == "header-too-large"
    assert _code(b'{"a":[]}', limits=small) == "too-deep"


def test_a_record_that_the_client_could_not_read_keeps_its_own_reason() -> None:
    """Nothing else is said about it, and its copy names it."""
    broken = UnreadableRecord("corrupt-record", "Expected a readable record")
    command = open_envelope(record(None, (), unreadable=broken), LIMITS).command
    assert command.body == broken
    assert command.dead_letter == DeadLetter(b"k", None, (), "corrupt-record")


def test_an_unreadable_record_leaves_a_copy_without_credentials() -> None:
    """Key, value and the other headers as they came, in order; whatever case the header had."""
    headers: list[Header] = [
        ("b", None),
        ("AuthoriZation", b"Bearer tp_1"),
        ("a", b"\xff"),
        ("authorization", b"x"),
        ("b", b""),
    ]
    command = open_envelope(record(b"\0", headers, key=None), LIMITS).command
    assert command.dead_letter == DeadLetter(
        None, b"\0", (("b", None), ("a", b"\xff"), ("b", b"")), "repeated-authorization"
    )
    assert dead_letter(record(), "processing-failed") == DeadLetter(b"k", as_json(body()), (), "processing-failed")


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[]"])
def test_an_unreadable_record_answers_under_its_idempotency_key(value: bytes | None) -> None:
    """A well-formed key is the result's key whatever the rest is; it binds nothing."""
    command = opened(value, ("idempotency-key", "schlüssel".encode()))
    assert command.key == command.idempotency_key == "schlüssel"
    assert command.fingerprint is None


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ([b"k"], "k"),
        ([b" k "], " k "),
        (["\u2028\U0001f600".encode()], "\u2028\U0001f600"),
        ([("é" * 255).encode()], "é" * 255),
        ([("é" * 256).encode()], None),
        ([b"k" * 256], None),
        ([b""], None),
        ([None], None),
        ([b"\xff"], None),
        ([b"\xed\xa0\x80"], None),
        ([b"a\0"], None),
        ([b"a\n"], None),
        ([b"\x7f"], None),
        (["\x85".encode()], None),
        ([b"k", b"k"], None),
        ([b"k", None], None),
    ],
)
def test_an_idempotency_key_is_one_text_of_1_to_255_characters(values: list[bytes | None], key: str | None) -> None:
    """Otherwise the result's key names the record, and rule 4 will refuse."""
    headers = [("Idempotency-KEY", value) for value in values]
    command = opened(as_json(body()), *headers)
    assert command.idempotency_key == key
    assert command.key == (key if key is not None else f"{TOPIC}:3:7")
    assert command.key_is_malformed is (key is None)
    assert (command.fingerprint is not None) is (key is not None)


def test_the_fingerprint_is_of_the_whole_body_also_where_it_is_invalid() -> None:
    """Ignored keys count; rule 5 comes before rule 6."""
    sent = body(ignored=[1], gs1=None)
    command = opened(as_json(sent), ("idempotency-key", b"k"))
    assert isinstance(command.body, InvalidBody)
    assert command.fingerprint == fingerprint(sent)


KEY = ApiKey(sha256(b"tp_1").digest())


@pytest.mark.parametrize(
    ("value", "credentials", "token"),
    [
        (b"Bearer tp_1", KEY, None),
        (b"bEARER tp_1", KEY, None),
        (b" \tBearer \t tp_1 \t", KEY, None),
        (b"Bearer tp_", ApiKey(sha256(b"tp_").digest()), None),
        ("Bearer tp_ü".encode(), ApiKey(sha256("tp_ü".encode()).digest()), None),
        (b"Bearer TP_1", NoCredentials.OAUTH_OFF, "TP_1"),
        (b"Bearer a.b.c", NoCredentials.OAUTH_OFF, "a.b.c"),
        (b"Bearer \0", NoCredentials.OAUTH_OFF, "\0"),
        (None, NoCredentials.MISSING, None),
        (b"", NoCredentials.UNKNOWN_SCHEME, None),
        (b"Bearer", NoCredentials.MALFORMED, None),
        (b"Bearer ", NoCredentials.MALFORMED, None),
        (b"Bearertp_1", NoCredentials.MALFORMED, None),
        (b"Basic tp_1", NoCredentials.UNKNOWN_SCHEME, None),
        (b"tp_1", NoCredentials.UNKNOWN_SCHEME, None),
        (b"Bearer tp_1 tp_2", NoCredentials.MALFORMED, None),
        (b"Bearer tp_1\n", NoCredentials.MALFORMED, None),
        ("Bearer\u00a0tp_1".encode(), NoCredentials.MALFORMED, None),
        (b"Bearer tp_\xff", NoCredentials.NOT_UTF8, None),
        (b"Bearer tp_\xed\xa0\x80", NoCredentials.NOT_UTF8, None),
    ],
)
def test_credentials_are_an_api_key_or_a_token(
    value: bytes | None, credentials: ApiKey | NoCredentials, token: str | None
) -> None:
    """The scheme in any case; anything else is unknown credentials in a readable record, of which the kind is kept."""
    envelope = open_envelope(record(headers=[("Authorization", value)]), LIMITS)
    assert (envelope.command.credentials, envelope.token) == (credentials, token)
    assert isinstance(envelope.command.body, CreatePassport)


@pytest.mark.parametrize(("count", "seen"), [(0, NoCredentials.MISSING), (2, NoCredentials.REPEATED)])
def test_a_record_without_one_header_of_credentials_has_none(count: int, seen: NoCredentials) -> None:
    """Rule 2 will refuse the former, which is readable, and rule 1 the latter."""
    envelope = open_envelope(record(headers=[BEARER] * count), LIMITS)
    assert (envelope.command.credentials, envelope.token) == (seen, None)


def _event(**changes: object) -> bytes:
    event = {"specversion": "1.0", "id": "1", "source": "/erp", "type": "t", "data": body()}
    return as_json({name: value for name, value in {**event, **changes}.items() if value is not ...})


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/cloudevents+json",
        b"application/cloudevents+json; charset=UTF-8",
        b" Application/CloudEvents+JSON ;x=\xff",
    ],
)
def test_the_body_of_a_structured_cloud_event_is_its_data(content_type: bytes) -> None:
    """By the media type, whatever its case and parameters; credentials and key are in the Kafka headers."""
    headers: list[Header] = [("Content-Type", content_type), ("idempotency-key", b"k")]
    command = opened(_event(authorization="Bearer tp_evil", idempotencykey="evil"), *headers)
    assert isinstance(command.body, CreatePassport)
    assert command.key == "k"
    assert command.fingerprint == fingerprint(body())
    assert command.credentials == ApiKey(sha256(API_KEY.encode()).digest())


@pytest.mark.parametrize("content_type", [[], [("content-type", b"application/json")]])
def test_a_structured_cloud_event_without_its_content_type_is_told(content_type: list[Header]) -> None:
    """Beside what the contract says of a body that lacks all. Seen to fail before: `Required`, and no word of why."""
    command = opened(_event(), *content_type)
    assert command.body == InvalidBody(
        {
            "productId": ["Required"],
            "gs1": ["Required"],
            "specversion": [
                "Expected a command, got a CloudEvent: send it with the header content-type: "
                "application/cloudevents+json"
            ],
        }
    )
    assert isinstance(opened(as_json(body(specversion="1.0"))).body, CreatePassport)


@pytest.mark.parametrize("data", [..., None, [], [body()], "{}", json.dumps(body()), 7, True])
def test_a_structured_cloud_event_without_json_data_is_unreadable(data: object) -> None:
    """Missing, null, binary, or JSON that is no object."""
    assert _code(_event(data=data), STRUCTURED) == "cloudevent-without-data"
    assert _code(_event(data=data, data_base64="e30="), STRUCTURED) == "cloudevent-without-data"


def test_a_structured_cloud_event_is_bound_by_the_same_limits() -> None:
    """The event is the outermost object, and a duplicate key in its attributes counts."""
    assert _code(_event(data={}), STRUCTURED) is None
    assert _code(b'{"data":{},"data":{}}', STRUCTURED) == "duplicate-key"
    assert _code(b'{"data":' + b'{"a":' * 31 + b"0" + b"}" * 32, STRUCTURED) is None
    assert _code(b'{"data":' + b'{"a":' * 32 + b"0" + b"}" * 33, STRUCTURED) == "too-deep"
    assert _code(b"[]", STRUCTURED) == "not-an-object"
    assert _code(None, STRUCTURED) == "tombstone"


@pytest.mark.parametrize(
    "content_type",
    [None, b"", b"application/json", b"application/cloudevents", b"application/cloudevents-batch+json", b"\xff"],
)
def test_other_content_types_leave_the_value_to_be_the_body(content_type: bytes | None) -> None:
    """Binary mode, where the attributes are headers, and producers that say anything."""
    headers: list[Header] = [
        ("content-type", content_type),
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_data", None),
    ]
    assert isinstance(opened(as_json(body(data=7)), *headers).body, CreatePassport)


@pytest.mark.parametrize(
    ("parents", "states", "trace"),
    [
        ([PARENT], [], TraceContext(PARENT, None)),
        ([PARENT], [b"a=1"], TraceContext(PARENT, b"a=1")),
        ([PARENT], [b"a=1", b"b=2"], TraceContext(PARENT, b"a=1,b=2")),
        ([PARENT], [None, b"", b"\xff"], TraceContext(PARENT, b"\xff")),
        ([b"01" + PARENT[2:] + b"-more\xff"], [], TraceContext(b"01" + PARENT[2:] + b"-more\xff", None)),
        ([b"cc" + PARENT[2:]], [], TraceContext(b"cc" + PARENT[2:], None)),
        ([], [b"a=1"], None),
        ([None], [b"a=1"], None),
        ([b""], [b"a=1"], None),
        ([PARENT, PARENT], [b"a=1"], None),
        ([PARENT + b"-more"], [], None),
        ([PARENT + b"\n"], [], None),
        ([b"01" + PARENT[2:] + b"more"], [], None),
        ([b"ff" + PARENT[2:]], [], None),
        ([PARENT.upper()], [], None),
        ([b"00-" + b"0" * 32 + PARENT[35:]], [], None),
        ([PARENT[:36] + b"0" * 16 + PARENT[52:]], [], None),
        ([PARENT[:-1]], [], None),
        ([b" " + PARENT], [], None),
        ([PARENT], [b"a" * 512], TraceContext(PARENT, b"a" * 512)),
        ([PARENT], [b"a" * 513], TraceContext(PARENT, None)),
        ([PARENT], [b"a" * 256, b"b" * 255], TraceContext(PARENT, b"a" * 256 + b"," + b"b" * 255)),
        ([PARENT], [b"a" * 256, b"b" * 256], TraceContext(PARENT, None)),
        ([PARENT], [b"a=1"] * 1000, TraceContext(PARENT, None)),
        ([b"01" + PARENT[2:] + b"-" + b"x" * 456], [], TraceContext(b"01" + PARENT[2:] + b"-" + b"x" * 456, None)),
        ([b"01" + PARENT[2:] + b"-" + b"x" * 457], [b"a=1"], None),
    ],
)
def test_trace_context_is_carried_as_it_came(
    parents: list[bytes | None], states: list[bytes | None], trace: TraceContext | None
) -> None:
    """W3C Trace Context: both headers are dropped where `traceparent` is missing, repeated or malformed.

    A `tracestate` of over 512 characters is dropped alone. Seen to fail without bounds.
    """
    headers = [*(("TraceParent", value) for value in parents), *(("tracestate", value) for value in states)]
    assert opened(as_json(body()), *headers).trace == trace
    assert opened(None, *headers).trace == trace


def test_of_headers_by_the_ten_thousand_those_that_count_are_held() -> None:
    """The answer is that of any record with too many headers; the copy says how many it lacks.

    Seen to fail while all were held: records of a megabyte took the process from 90 to 600 MB.
    """
    many = [(f"h{at}", b"") for at in range(MOST_HEADERS)]
    sent = record(headers=[*many, BEARER, ("Idempotency-Key", b"key-1"), ("traceparent", PARENT), *many])
    held = without_excess(sent, LIMITS)
    command, expected = open_envelope(held, LIMITS).command, open_envelope(sent, LIMITS).command
    assert command._replace(dead_letter=None) == expected._replace(dead_letter=None)
    kept = (("Idempotency-Key", b"key-1"), ("traceparent", PARENT), ("dlq-omitted-headers", b"20000"))
    assert command.dead_letter == DeadLetter(sent.key, sent.value, kept, "too-many-headers")


@pytest.mark.parametrize("repeated", ["authorization", "idempotency-key", "traceparent"])
def test_what_is_repeated_among_very_many_headers_stays_repeated(repeated: str) -> None:
    """Neither of several keys becomes the key of the result."""
    sent = record(headers=[(repeated, b"x")] * (MOST_HEADERS + 1))
    held = without_excess(sent, LIMITS)
    assert [name for name, _ in held.headers] == [repeated, repeated, "dlq-omitted-headers"]
    assert open_envelope(held, LIMITS).command.key == open_envelope(sent, LIMITS).command.key


def test_other_records_are_held_as_they_came() -> None:
    """Up to ten thousand headers, and those that the client could not read."""
    sent = record(headers=[("h", b"")] * MOST_HEADERS)
    assert without_excess(sent, LIMITS) is sent
    unreadable = UnreadableRecord("header-name-not-utf8", "Expected header names in UTF-8")
    spoilt = record(headers=[("h", b"")] * (MOST_HEADERS + 1), unreadable=unreadable)
    assert without_excess(spoilt, LIMITS).unreadable == unreadable


@pytest.mark.parametrize(
    ("sent", "omitted"),
    [
        (record(b"x" * (RECORD_BYTES - 3), [BEARER, ("", None)], key=b"k"), None),
        (record(b"x" * (RECORD_BYTES - 2), [BEARER, ("", None)], key=b"k"), RECORD_BYTES + 1),
        (record(None, [BEARER, ("h", b"x" * RECORD_BYTES)], key=None), RECORD_BYTES + 6),
        (record(None, [BEARER], key=b"k" * (RECORD_BYTES + 1)), RECORD_BYTES + 1),
    ],
    ids=["it just fits", "value", "header", "key"],
)
def test_a_copy_that_does_not_fit_into_its_topic_is_left_out(sent: Record, omitted: int | None) -> None:
    """An operator may let in larger records than the dead-letter topic takes; no lane may stop for one."""
    letter = dead_letter(sent, "value-too-large")
    if omitted is None:
        assert letter == DeadLetter(sent.key, sent.value, (("", None),), "value-too-large")
    else:
        assert letter == DeadLetter(None, None, (("dlq-omitted-bytes", b"%d" % omitted),), "value-too-large")


@pytest.mark.parametrize(("timestamp_ms", "appended_ms"), [(-1, 0), (0, 0), (2**63 - 1, LATEST_MS), (NOW_MS, NOW_MS)])
def test_every_timestamp_is_a_moment(timestamp_ms: int, appended_ms: int) -> None:
    """A producer's time may be anything."""
    assert open_envelope(record(timestamp_ms=timestamp_ms), LIMITS).command.source.appended_ms == appended_ms
