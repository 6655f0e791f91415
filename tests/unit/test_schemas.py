"""The committed JSON Schemas say what the models say, and what the worker really accepts and answers."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from tests.schema_checks import SCHEMAS, check_event, validator
from worker.domain import outcomes
from worker.domain.catalogue import Product
from worker.domain.command import ApiKey, Command, CreatePassport, InvalidBody, Source
from worker.domain.outcomes import Asked, Outcome
from worker.domain.seeding import seed_fields
from worker.messages.body import ROLES, read_body
from worker.messages.events import created_body, describe
from worker.messages.rules import Kind
from worker.tools.asyncapi import passport, results
from worker.tools.asyncapi.schemas import schemas, text_of

NAMES = ["create.v1", "created.v1", "overage-required.v1", "conflict.v1", "rejected.v1"]
COMPANY = "6650a0b1c2d3e4f5a6b7c8d9"
PASSPORT = "69ff08a0c0ffee0123456789"
LINK_BASE = "https://id.tracepass.eu/p"
ASKED = Asked(COMPANY, "6650a1b2c3d4e5f6a7b8c9d0", "04012345000016", "BP-48V-100-000001")
PARTY = {"legalName": "EuroBat GmbH", "gln": "4012345000009", "country": "DE"}
MODELS: dict[Kind, type[BaseModel]] = {
    Kind.CREATED: passport.Created,
    Kind.OVERAGE_REQUIRED: results.OverageRequired,
    Kind.CONFLICT: results.Conflict,
    Kind.REJECTED: results.Rejected,
}


def _product(template_fields: object) -> Product:
    seeded = seed_fields(json.dumps(template_fields), '{"nominalVoltage": 48}', '{"manufacturerName": "EuroBat"}')
    return Product(ASKED.product_id, COMPANY, "6650a1b2c3d4e5f6a7b8c9d1", seeded)


def _created(
    product: Product, serial: str, parties: Mapping[str, Mapping[str, str]] | None, overage: int | None
) -> outcomes.Created:
    return outcomes.Created(
        PASSPORT, COMPANY, product, ASKED.gtin, serial, parties, overage, 1778320800000, 20582, None, None
    )


_FIELDS = [
    {"key": "manufacturerName", "dataType": "string", "defaultValue": None},
    {"key": "nominalVoltage", "dataType": "number", "defaultValue": None},
    {"key": "hazardous", "dataType": "boolean", "defaultValue": False},
    {"key": "materials", "dataType": "array", "defaultValue": []},
    {"key": "carbonFootprint", "dataType": "number", "defaultValue": ""},
]
PLAIN = _created(_product([]), ASKED.serial, None, None)
FULL = _created(_product(_FIELDS), 'Größe "L" / 1 €', dict.fromkeys(ROLES, PARTY), 0)
OUTCOMES: list[Outcome] = [
    PLAIN,
    FULL,
    outcomes.Replayed(COMPANY, PASSPORT, created_body(FULL, LINK_BASE)),
    outcomes.Unreadable("Expected UTF-8, got an invalid byte at 0"),
    outcomes.Unauthorized(),
    *map(outcomes.Unauthorized, (*outcomes.SignatureProblem, *outcomes.CredentialsProblem)),
    outcomes.Forbidden(COMPANY),
    outcomes.MalformedIdempotencyKey(COMPANY),
    outcomes.IdempotencyKeyReused(COMPANY),
    outcomes.Invalid(COMPANY, {"gs1": ["Required"], "parties.\ud800": ["Expected one of the roles …"]}),
    outcomes.Invalid(COMPANY, {"gs1": ["Required"]}, 7900),
    outcomes.SubscriptionInactive(ASKED, "past_due"),
    outcomes.ProductNotFound(ASKED),
    outcomes.ProductNotFound(replace(ASKED, parties=dict.fromkeys(ROLES, PARTY))),
    outcomes.DailyWritesSpent(ASKED, 200, 200),
    outcomes.GtinRegistered(ASKED),
    outcomes.SerialExists(ASKED, PASSPORT),
    outcomes.OverageRequired(ASKED, 100, 100, 75),
    outcomes.HardBlock(ASKED, 0, 0),
]


def _command() -> Command:
    return Command(
        source=Source("dpp.passport.create.v1", 0, 7, 1778320800000),
        key="dpp.passport.create.v1:0:7",
        idempotency_key=None,
        key_is_malformed=False,
        fingerprint=None,
        credentials=ApiKey(bytes(32)),
        body=CreatePassport(ASKED.product_id, ASKED.gtin, ASKED.serial, None, False),
        trace=None,
        dead_letter=None,
    )


def _example(name: str, verdict: str) -> object:
    return json.loads((SCHEMAS / "examples" / f"{name}.{verdict}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_documents_of_the_2020_12_dialect(name: str) -> None:
    """Each schema is valid, says its dialect, and has an id that is made from the message's CloudEvents type."""
    schema = schemas()[f"{name}.json"]
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert schema["$id"] == f"https://schemas.tracepass.eu/eu.tracepass.passport.{name}.json"
    assert schema["title"]
    assert schema["description"]


@pytest.mark.parametrize("name", NAMES)
def test_schemas_hold_no_default_values(name: str) -> None:
    """A default stands for "not sent" in our code; in a schema it would look like a value that may be sent."""
    assert '"default"' not in text_of(schemas()[f"{name}.json"])


@pytest.mark.parametrize("name", NAMES)
def test_valid_examples_pass(name: str) -> None:
    """What we show as right is right."""
    validator(name).validate(_example(name, "valid"))


@pytest.mark.parametrize("name", NAMES)
def test_invalid_examples_break_one_thing(name: str) -> None:
    """What we show as wrong is wrong, in one place."""
    assert len(list(validator(name).iter_errors(_example(name, "invalid")))) == 1


def test_every_outcome_is_checked() -> None:
    """A new outcome needs a row in the table of outcomes."""
    assert {type(outcome) for outcome in OUTCOMES} == set(get_args(Outcome))


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
def test_every_answer_is_as_its_schema_and_model_say(outcome: Outcome) -> None:
    """The bodies are written by hand for speed; schema and model describe exactly these bytes."""
    answer = describe(_command(), outcome, LINK_BASE)
    check_event(answer.kind.label, answer.value)
    MODELS[answer.kind].model_validate(json.loads(answer.value))


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
def test_no_answer_fits_the_schema_of_another_result(outcome: Outcome) -> None:
    """A body on the wrong topic is found."""
    answer = describe(_command(), outcome, LINK_BASE)
    for other in set(Kind) - {answer.kind}:
        with pytest.raises(AssertionError, match="breaks its schema"):
            check_event(other.label, answer.value)


def _with_surprises(value: bytes) -> Iterator[bytes]:
    """The body with a field that nobody described, once at every place that is an object of known fields."""
    body = json.loads(value)
    parts = [body, *(body[name] for name in ("gs1", "request", "fieldCounts", "overage", "parties") if name in body)]
    for part in [*parts, *body.get("fields", {}).values(), *body.get("parties", {}).values()]:
        part["surprise"] = {}
        yield json.dumps(body).encode()
        del part["surprise"]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
def test_who_checks_with_todays_schema_takes_a_result_that_gained_a_field(outcome: Outcome) -> None:
    """Results may gain optional fields within v1: the published schemas forbid none, and our own tests forbid all."""
    answer = describe(_command(), outcome, LINK_BASE)
    for value in _with_surprises(answer.value):
        validator(f"{answer.kind.label}.v1").validate(json.loads(value))
        with pytest.raises(AssertionError, match="breaks its schema"):
            check_event(answer.kind.label, value)


def test_results_know_the_roles_of_the_command() -> None:
    """Parties are repeated under the role they were sent with."""
    fields = passport.PassportParties.model_fields
    assert tuple(field.alias or name for name, field in fields.items()) == ROLES


_BODY = {"productId": ASKED.product_id, "gs1": {"gtin": ASKED.gtin, "serialNumber": ASKED.serial}}


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"unknown": None},
        {"parties": {}},
        {"parties": {"importer": {"legalName": "X", "legacyOperatorId": "1", "unknown": []}}},
        {"parties": {role: {**PARTY, "url": "HTTPS://example.org/a"} for role in ROLES}},
        {"confirmOverage": True},
        {"productId": ASKED.product_id.upper()},
        {"gs1": {"gtin": ASKED.gtin, "serialNumber": " € ", "unknown": {}}},
    ],
)
def test_command_schema_passes_what_the_worker_accepts(extra: dict[str, object]) -> None:
    """A producer who validates first is never stricter than the worker."""
    body = {**_BODY, **extra}
    assert isinstance(read_body(body), CreatePassport)
    validator("create.v1").validate(body)


@pytest.mark.parametrize(
    "extra",
    [
        {"productId": None},
        {"productId": "6650a1b2c3d4e5f6a7b8c9d"},
        {"gs1": {"gtin": ASKED.gtin}},
        {"gs1": {"gtin": "\uff10" * 14, "serialNumber": "1"}},
        {"gs1": {"gtin": ASKED.gtin, "serialNumber": ".."}},
        {"parties": None},
        {"parties": {"owner": PARTY}},
        {"parties": {"importer": {"legalName": "X"}}},
        {"parties": {"importer": {**PARTY, "country": "de"}}},
        {"parties": {"importer": {**PARTY, "gln": ""}}},
        {"confirmOverage": 1},
    ],
)
def test_command_schema_refuses_what_a_schema_can_see(extra: dict[str, object]) -> None:
    """Check digits are beyond a schema; missing, null, mistyped and unknown parts are not."""
    body = {**_BODY, **extra}
    assert not isinstance(read_body(body), CreatePassport)
    assert not validator("create.v1").is_valid(body)


_TEXTS = ("", "x", "F" * 24, "0" * 25, "04006381333931", "04006381333932", "4012345000009", "4012345000008", "s" * 101)
_OTHER_TEXTS = (".", "DE", "de", "https://a.example", "http://", "ftp://a.example", "x" * 201)
_VALUES: st.SearchStrategy[object] = st.sampled_from([None, True, 1, {}, [], *_TEXTS, *_OTHER_TEXTS])
_PARTY_FIELDS = ["legalName", "gln", "country", "legacyOperatorId", "url", "x"]
_PARTIES = st.dictionaries(
    st.sampled_from([*ROLES, "owner"]),
    st.dictionaries(st.sampled_from(_PARTY_FIELDS), _VALUES) | st.just(PARTY) | _VALUES,
    max_size=3,
)
_GS1 = st.dictionaries(st.sampled_from(["gtin", "serialNumber", "x"]), _VALUES) | st.just(_BODY["gs1"])
_ONLY_A_WORKER_SEES = ("check digit is invalid", "Expected an http or https URL")


@settings(max_examples=400, deadline=None)
@given(_VALUES | st.just(ASKED.product_id), _GS1 | _VALUES, _PARTIES | _VALUES, st.booleans() | _VALUES)
def test_schema_and_worker_agree(product_id: object, identity: object, parties: object, confirmed: object) -> None:
    """Both are written by hand. A schema sees neither check digits nor whether a URL has a host."""
    body = {"productId": product_id, "gs1": identity, "parties": parties, "confirmOverage": confirmed}
    read = read_body(body)
    errors = [text for texts in read.field_errors.values() for text in texts] if isinstance(read, InvalidBody) else []
    seen_by_schema = [text for text in errors if not any(beyond in text for beyond in _ONLY_A_WORKER_SEES)]
    if not errors:
        validator("create.v1").validate(body)
    if seen_by_schema:
        assert not validator("create.v1").is_valid(body)
