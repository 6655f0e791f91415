"""Claims that hold for every input, tried on many."""

import json
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from biip import BiipException
from biip.gln import Gln
from biip.gs1_element_strings import GS1ElementString
from biip.gtin import Gtin
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.builders import BEARER, LIMITS, LINK_BASE, NOW_MS, TOPIC, as_json, body, facts
from worker.domain import gs1
from worker.domain.command import Command, CreatePassport
from worker.domain.decide import decide
from worker.domain.outcomes import Unauthorized, Unreadable
from worker.domain.seeding import compact_json
from worker.domain.timestamps import clamp_ms, format_ms
from worker.messages.body import ROLES
from worker.messages.envelope import Record, open_envelope
from worker.messages.events import Header, dead_letter_event, describe, event_of
from worker.messages.json_value import fingerprint, read_object
from worker.messages.signature import to_base64url
from worker.tools.common.result_record import answer_of

settings.register_profile("stable", max_examples=30, derandomize=True, deadline=None, database=None)
settings.load_profile("stable")

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=24)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3), max_leaves=6
)
objects = st.dictionaries(any_text, values, max_size=3)
known_names = st.sampled_from(
    [
        "authorization",
        "jws-signature",
        "Idempotency-Key",
        "content-type",
        "TraceParent",
        "tracestate",
        "ce_id",
        "",
        "\u212aey",
    ]
)
known_values = st.sampled_from(
    [
        BEARER[1],
        b"Bearer a.b.c",
        b"application/cloudevents+json",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"key",
        None,
    ]
)
headers = st.lists(st.tuples(known_names | any_text, known_values | st.binary(max_size=40)), max_size=6)


def _shuffled(value: Any, draw: st.DrawFn) -> Any:
    if isinstance(value, list):
        return [_shuffled(item, draw) for item in value]
    if isinstance(value, dict):
        return {name: _shuffled(value[name], draw) for name in draw(st.permutations(list(value)))}
    return value


@st.composite
def _two_spellings(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """The same object twice: compact, and in another order with white space."""
    value = draw(objects)
    spaced = json.dumps(_shuffled(value, draw), indent=draw(st.integers(0, 3)), separators=(" ,\t", " :\r\n"))
    return as_json(value), spaced.encode()


@given(_two_spellings())
def test_the_fingerprint_knows_no_order_and_no_white_space(spellings: tuple[bytes, bytes]) -> None:
    """Two spellings of one body are one body."""
    first, second = (read_object(spelling, 32) for spelling in spellings)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert fingerprint(first) == fingerprint(second)


@given(objects, objects)
def test_different_bodies_have_different_fingerprints(one: dict[str, object], two: dict[str, object]) -> None:
    """As JSON tells them apart: 1 is neither 1.0 nor true."""
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (fingerprint(one) == fingerprint(two)) is same


@given(st.text("0123456789", min_size=13, max_size=13))
def test_one_gtin_check_digit_of_ten_is_valid(digits: str) -> None:
    """And biip names the same one."""
    valid = [digit for digit in "0123456789" if gs1.gtin_problem(digits + digit) is None]
    assert len(valid) == 1
    assert Gtin.parse(digits + valid[0]).check_digit == int(valid[0])


@given(st.text("0123456789", min_size=12, max_size=12))
def test_one_gln_check_digit_of_ten_is_valid(digits: str) -> None:
    """And biip names the same one."""
    valid = [digit for digit in "0123456789" if gs1.gln_problem(digits + digit) is None]
    assert len(valid) == 1
    assert Gln.parse(digits + valid[0]).check_digit == int(valid[0])


def _serial_of_biip(serial: str) -> str | None:
    try:
        element = GS1ElementString.extract(f"21{serial}")
    except BiipException:
        return None
    return element.value


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=24) | any_text)
def test_conformance_agrees_with_biip(serial: str) -> None:
    """A serial is a GS1 one if biip reads all of it as the value of application identifier 21."""
    assert gs1.is_conformant_serial(serial) is (_serial_of_biip(serial) == serial and serial != "")


@given(any_text.filter(lambda text: gs1.serial_problem(text) is None))
def test_digital_links_can_be_read_back(serial: str) -> None:
    """The path holds the serial and nothing else, in characters that need no further encoding."""
    uri = gs1.digital_link_uri(LINK_BASE, "04012345000016", serial)
    prefix, _, last = uri.rpartition("/")
    assert prefix == f"{LINK_BASE}/01/04012345000016/21"
    assert unquote(last, errors="strict") == serial
    assert uri.isascii()
    assert last not in (".", "..")


def _answered(command: Command) -> None:
    """A verdict, an event, and a body that is JSON with a status; the same again."""
    outcome = decide(command, facts())
    answer = describe(command, outcome, LINK_BASE)
    content = json.loads(answer.value.decode("ascii"))
    assert content["status"] in ("draft", 400, 401, 403, 404)
    event = event_of(answer, TOPIC, command.source.partition)
    assert event.value == answer.value
    assert describe(command, decide(command, facts()), LINK_BASE) == answer
    if command.dead_letter is not None:
        letter = dead_letter_event(command.dead_letter, command.source, "group")
        assert "authorization" not in {name.lower() for name, _ in letter.headers}


@given(
    st.none() | st.binary(max_size=200), headers, st.integers(-(2**63), 2**63 - 1), st.none() | st.binary(max_size=9)
)
def test_any_bytes_get_an_answer(value: bytes | None, sent: list[Header], timestamp_ms: int, key: bytes | None) -> None:
    """Whatever is in a record, it is an answer and never an exception."""
    _answered(open_envelope(Record(TOPIC, 3, 7, timestamp_ms, key, value, sent), LIMITS).command)


parts = st.binary(max_size=40).map(to_base64url) | objects.map(as_json).map(to_base64url)
moments = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | values


@given(
    st.lists(st.lists(parts | st.binary(max_size=9), max_size=4).map(b".".join), min_size=1, max_size=2),
    st.fixed_dictionaries({"exp": moments}, optional={"nbf": moments, "aud": values, "key": values, "ct": values}),
    headers,
)
def test_any_signature_gets_an_answer(some: list[bytes], claims: dict[str, object], sent: list[Header]) -> None:
    """Whatever is in its parts; and none of these creates a passport."""
    header = to_base64url(as_json({"alg": "EdDSA", "kid": "k" * 43, "typ": "dpp-command+jwt"}))
    formed = b".".join([header, to_base64url(as_json(claims)), to_base64url(bytes(64))])
    for signatures in (some, [formed]):
        own: list[Header] = [("jws-signature", one) for one in signatures]
        record = Record(TOPIC, 3, 7, NOW_MS, None, as_json(body()), [*own, *sent])
        command = open_envelope(record, LIMITS).command
        _answered(command)
        assert isinstance(decide(command, facts()), Unauthorized | Unreadable)


@given(objects, st.sampled_from(["productId", "gs1", "parties", "confirmOverage", "data", "x"]), values, headers)
def test_any_json_gets_an_answer(extra: dict[str, object], name: str, value: object, sent: list[Header]) -> None:
    """Also where only one part of a good command is odd."""
    spelled = as_json({**extra, **body(), name: value})
    _answered(open_envelope(Record(TOPIC, 3, 7, NOW_MS, None, spelled, [BEARER, *sent]), LIMITS).command)


names = st.sampled_from(["legalName", "gln", "country", "legacyOperatorId", "url", "x"])
roles = st.sampled_from(["manufacturer", "importer", "producerResponsibilityOrg", "owner"])
party_values = values | st.sampled_from(["4012345000009", "DE", "http://a.eu"]) | any_text.map("https://".__add__)


@given(st.dictionaries(roles, st.dictionaries(names, party_values, max_size=5) | values, max_size=3))
def test_parties_are_repeated_or_refused(parties: dict[str, object]) -> None:
    """Valid ones come back as they were sent, others are errors below `parties`."""
    command = open_envelope(Record(TOPIC, 3, 7, NOW_MS, None, as_json(body(parties=parties)), [BEARER]), LIMITS).command
    _answered(command)
    if isinstance(command.body, CreatePassport):
        repeated = json.loads(describe(command, decide(command, facts()), LINK_BASE).value).get("parties", {})
        assert repeated.keys() == parties.keys()


any_names = st.text(st.characters(codec=None, exclude_categories=()), min_size=1, max_size=4)
long_names = st.builds(
    lambda text, times, number: f"{text * times}{number}", any_names, st.integers(0, 3_000), any_text
)


@given(st.lists(long_names, max_size=40), st.integers(0, 2_000), values)
def test_a_refusal_is_small_whatever_the_body(hostile: list[str], many: int, value: object) -> None:
    """It has 8 KiB of field errors at most, however long and however many the names are, and counts the others."""
    unknown = {*hostile, *(f"r{number}" for number in range(many))} - {*ROLES}
    spelled = as_json({"parties": dict.fromkeys(unknown, value)})
    limits = replace(LIMITS, value_bytes=len(spelled))
    command = open_envelope(Record(TOPIC, 3, 7, NOW_MS, None, spelled, [BEARER]), limits).command
    answer = describe(command, decide(command, facts()), LINK_BASE)
    details = json.loads(answer.value)["details"]
    assert len(compact_json(details["fieldErrors"])) <= 8192
    assert len(answer.value) <= 8192 + 128
    assert 0 < len(details["fieldErrors"]) <= 100
    assert len(details["fieldErrors"]) + details.get("omitted", 0) == len(unknown) + len(("productId", "gs1"))
    event = event_of(answer, TOPIC, command.source.partition)
    assert answer_of(event, answer.kind, command.source) == answer


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_timestamp_has_a_text(timestamp_ms: int) -> None:
    """24 characters of ISO 8601, which sort as the times do."""
    text = format_ms(clamp_ms(timestamp_ms))
    assert len(text) == 24
    assert (text < format_ms(NOW_MS)) is (clamp_ms(timestamp_ms) < NOW_MS)
