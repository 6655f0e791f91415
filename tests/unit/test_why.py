"""From an answer back to its rule and to sentences: for every outcome, from its kind and body alone."""

import json
from typing import get_args

import pytest

from tests.unit.builders import COMPANY, EARLIER, GTIN, LINK_BASE, NOW_MS, PRODUCT, SERIAL, command, product
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
from worker.messages.events import created_body, describe
from worker.messages.rules import ROWS, Kind
from worker.tools.common.answers import body_of_value, outcome_class
from worker.tools.common.why import SIGNATURE_SENTENCES, why

ASKED = Asked(COMPANY, PRODUCT, GTIN, SERIAL)
CREATED = Created(EARLIER, COMPANY, product(), GTIN, SERIAL, None, None, NOW_MS, 20_000, None, None)
CHARGED = Created(EARLIER, COMPANY, product(), GTIN, SERIAL, None, 75, NOW_MS, 20_000, None, None)
MANY = {f"parties.{name}": ["Expected one of the roles"] for name in "abcdefgh"}

CASES: list[tuple[Outcome, int, str]] = [
    (CREATED, 13, f"All rules passed, and passport {EARLIER} was created."),
    (
        CHARGED,
        13,
        f"All rules passed, and passport {EARLIER} was created. No slot was free, overage was confirmed, and "
        "0.75 EUR was charged.",
    ),
    (
        Replayed(COMPANY, EARLIER, created_body(CREATED, LINK_BASE)),
        5,
        f"The idempotency key had created passport {EARLIER} from the same body at 2026-05-09T10:00:00.000Z. That "
        "created event was published again, and nothing was created.",
    ),
    (
        Unreadable("Expected a JSON object, got an empty value"),
        1,
        "The record is not a command: Expected a JSON object, got an empty value. A copy is on the dead-letter topic.",
    ),
    (
        Unauthorized(),
        2,
        "The credentials are missing, malformed or unknown, or they were revoked, had expired or belonged to a closed "
        "company when the record was appended. The result does not say which.",
    ),
    (Forbidden(COMPANY), 3, "The access token does not carry the scope passports:write."),
    (
        MalformedIdempotencyKey(COMPANY),
        4,
        "The idempotency-key header is not one UTF-8 value of 1 to 255 characters without control characters, so the "
        "place of the record is the key of the result.",
    ),
    (
        IdempotencyKeyReused(COMPANY),
        5,
        "The idempotency key had created a passport from another body less than 24 hours before.",
    ),
    (
        Invalid(COMPANY, {"gs1.gtin": ["GTIN must be 14 digits"], "gs1.serialNumber": ["Required"]}),
        6,
        "The body is not valid. gs1.gtin: GTIN must be 14 digits; gs1.serialNumber: Required.",
    ),
    (
        Invalid(COMPANY, MANY, 7),
        6,
        "The body is not valid. "
        + "; ".join(f"parties.{name}: Expected one of the roles" for name in "abcde")
        + "; and 10 more.",
    ),
    (
        SubscriptionInactive(ASKED, "past_due"),
        7,
        "The company's subscription was past_due, and its plan needs one that is active or trialing.",
    ),
    (
        ProductNotFound(ASKED),
        8,
        f"The company has no product {PRODUCT}. The result does not say whether another company has it.",
    ),
    (
        DailyWritesSpent(ASKED, 200, 200),
        9,
        "The plan's writes for the UTC day of the record's append time were spent. API rate limit: 200 writes/day via "
        "/api/v1. Currently 200 today; requested 1. Retry tomorrow (UTC) or upgrade your plan.",
    ),
    (GtinRegistered(ASKED), 10, f"Another company registered GTIN {GTIN} before. The result does not name it."),
    (
        SerialExists(ASKED, EARLIER),
        11,
        f"The company's passport {EARLIER} already has serial number {SERIAL} of GTIN {GTIN}.",
    ),
    (
        OverageRequired(ASKED, 100, 101, 75),
        12,
        "No slot was free: 101 of the plan's 100 were used. The plan sells more, for 0.75 EUR each, but the command "
        "did not say confirmOverage: true.",
    ),
    (HardBlock(ASKED, 100, 100), 12, "No slot was free: 100 of the plan's 100 were used. The plan sells no more."),
]


@pytest.mark.parametrize(("outcome", "number", "sentences"), CASES, ids=lambda one: type(one).__name__)
def test_an_answer_tells_its_outcome_rule_and_reason(outcome: Outcome, number: int, sentences: str) -> None:
    """All three are made from kind and body, as they are published."""
    answer = describe(command(), outcome, LINK_BASE)
    body = body_of_value(answer.value)
    found = outcome_class(answer.kind, body, replayed=answer.replayed)
    assert found is type(outcome)
    assert ROWS[found].number == number
    assert why(found, body, "EUR") == sentences


@pytest.mark.parametrize("reason", SignatureProblem)
def test_each_reason_of_a_signature_has_its_sentence(reason: SignatureProblem) -> None:
    """No two have the same, and none is that of other credentials."""
    answer = describe(command(), Unauthorized(reason), LINK_BASE)
    body = body_of_value(answer.value)
    assert outcome_class(answer.kind, body) is Unauthorized
    told = why(Unauthorized, body, "EUR")
    assert [one for one, sentence in SIGNATURE_SENTENCES.items() if sentence == told] == [reason]
    assert told != why(Unauthorized, {}, "EUR")


def test_keys_that_are_not_available_have_their_sentence() -> None:
    """It says that the command may be sent again, which no other 401 of bearer credentials does."""
    told = why(
        Unauthorized,
        body_of_value(describe(command(), Unauthorized(CredentialsProblem.KEYS_UNAVAILABLE), LINK_BASE).value),
        "EUR",
    )
    assert told == (
        "The access token names a key that the worker did not know, and the authorization server's keys could not be "
        "read. So nobody could say whether the token is good. The command may be sent again."
    )


def test_every_outcome_is_among_them() -> None:
    """None can be added without a rule and sentences; the rules are thirteen."""
    assert {type(outcome) for outcome, _, _ in CASES} == set(get_args(Outcome)) == ROWS.keys()
    assert {rule.number for rule in ROWS.values()} == set(range(1, 14))


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[]", b"{}", b'{"status":400}', b'{"status":409,"error":7}', b'{"status":418,"error":"Teapot"}'],
)
def test_an_answer_of_another_version_is_told_so(value: bytes) -> None:
    """Whatever its bytes are."""
    outcome = outcome_class(Kind.REJECTED, body_of_value(value))
    assert outcome is None
    assert why(outcome, {}, "EUR") == "This version of the worker writes no such answer. Ask the version that wrote it."


@pytest.mark.parametrize("outcome", [outcome for outcome, _, _ in CASES], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("damage", ["{}", '{"details":[],"request":[],"overage":7}', '{"request":{"gs1":null}}'])
def test_a_body_that_lacks_something_raises_nothing(outcome: Outcome, damage: str) -> None:
    """A result topic may hold anything."""
    assert why(type(outcome), json.loads(damage), "EUR")


@pytest.mark.parametrize("omitted", ['"<b>"', "[]", "{}", "null", "true", "-3", "1e300", "9" * 4300])
def test_how_many_fields_are_left_out_is_a_number_or_not_told(omitted: str) -> None:
    """A stranger's may be anything, one with more digits than Python writes among them."""
    body = f'{{"status":400,"error":"Validation error","details":{{"fieldErrors":{{"a":["b"]}},"omitted":{omitted}}}}}'
    assert why(Invalid, body_of_value(body.encode()), "EUR") == "The body is not valid. a: b."
